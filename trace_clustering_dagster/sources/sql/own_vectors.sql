-- The number of vectors of a team that a deployment with a source wrote, of all or some traces, and
-- when the first of these traces ended. Replaced rows count until they are merged.
SELECT
    count(),
    min(timestamp)
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{own_vectors_filter}}
