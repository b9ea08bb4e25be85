-- The events that a condition selects. It is filled in: a condition takes no parameter.
SELECT DISTINCT toString(uuid)
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    {where}
