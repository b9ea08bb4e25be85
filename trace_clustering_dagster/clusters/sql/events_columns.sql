-- Types of the columns that the queries read. Fails if a column is missing or cannot be read.
DESCRIBE (
    SELECT
        uuid,
        event,
        properties,
        timestamp,
        team_id,
        distinct_id,
        created_at,
        _timestamp
    FROM {output_database:Identifier}.{output_events_table:Identifier}
)
