-- The events of a team that this instance wrote, and their numbers of rows. A replaced row counts
-- until it is merged.
SELECT
    toString(uuid) AS event_uuid,
    count() AS event_rows
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    {{own_events_filter}}
GROUP BY event_uuid
