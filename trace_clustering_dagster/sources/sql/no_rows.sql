(SELECT {columns} WHERE false)
