PARTITION BY toYYYYMM(timestamp)
ORDER BY (
    team_id, toDate(timestamp), product, document_type, model_name, rendering,
    cityHash64(document_id)
)
-- Without a TTL all rows are kept. To remove them after three months, remove the dashes; of a table
-- that is there: ALTER TABLE ... MODIFY TTL, with the same words.
-- TTL toDateTime(timestamp) + INTERVAL 3 MONTH
SETTINGS index_granularity = 512
