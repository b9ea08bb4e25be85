-- Types of the columns that the queries read. Fails if one is missing or may not be read.
DESCRIBE (
    SELECT
        uuid,
        event,
        properties,
        timestamp,
        team_id
    FROM {database:Identifier}.{events_table:Identifier}
)
