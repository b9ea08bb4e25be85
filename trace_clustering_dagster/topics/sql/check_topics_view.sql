-- Returns no row: fails if there is no such view, or if the user may not read what it reads.
SELECT *
FROM {database:Identifier}.{table:Identifier}
WHERE false
