-- The events that a condition selects. It is filled in, because a condition cannot be bound.
SELECT DISTINCT toString(uuid)
FROM {output_database:Identifier}.{output_events_table:Identifier}
WHERE
    {where}
