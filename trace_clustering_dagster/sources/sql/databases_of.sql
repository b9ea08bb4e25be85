-- Databases with a table of this name that the user may read.
SELECT DISTINCT database
FROM system.columns
WHERE table = {table:String}
ORDER BY database
LIMIT 5
