-- The columns of a source's tables, of those that exist and that the user may read.
SELECT
    table,
    name,
    type
FROM system.columns
WHERE
    database = {database:String}
    AND table IN {tables:Array(String)}
ORDER BY table, position
