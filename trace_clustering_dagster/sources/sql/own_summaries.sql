-- The number of summaries of a team that a deployment with a source wrote, of all or some traces,
-- and when the first of these traces ended. Replaced rows count until they are merged.
SELECT
    count(),
    min(timestamp)
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    {{own_summaries_filter}}
