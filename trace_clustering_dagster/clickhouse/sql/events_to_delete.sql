-- The events that a condition selects. It is filled in: a condition takes no parameter.
SELECT DISTINCT toString(uuid)
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    {where}
