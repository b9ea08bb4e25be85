-- The columns of a table that is written, and their types, as the function `file` takes them.
SELECT arrayStringConcat(groupArray(concat('`', name, '` ', type)), ', ')
FROM system.columns
WHERE
    database = {output_database:String}
    AND table = {table:String}
