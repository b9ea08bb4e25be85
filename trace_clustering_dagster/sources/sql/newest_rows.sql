(SELECT {columns} FROM {table} ORDER BY {version} DESC LIMIT 1 BY {key})
