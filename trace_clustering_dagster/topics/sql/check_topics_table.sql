-- Inserts no row: fails if there is no such table, or if the user may not read it or insert into it.
INSERT INTO {database:Identifier}.{table:Identifier}
SELECT *
FROM {database:Identifier}.{table:Identifier}
WHERE false
