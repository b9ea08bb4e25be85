-- A table's engine; no row if there is no such table or the user may not see it.
SELECT
    engine,
    engine_full,
    sorting_key
FROM system.tables
WHERE
    database = {table_database:String}
    AND name = {table:String}
