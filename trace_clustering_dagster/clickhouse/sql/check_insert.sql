-- Inserts no row: fails if the user may not insert events, or if a column cannot hold its value.
INSERT INTO {output_database:Identifier}.{output_events_table:Identifier}
    (uuid, event, properties, timestamp, team_id, distinct_id, created_at, _timestamp)
SELECT
    generateUUIDv4(),
    '',
    '',
    now64(6, 'UTC'),
    toInt64(0),
    '',
    now64(6, 'UTC'),
    now('UTC')
WHERE false
