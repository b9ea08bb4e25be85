PARTITION BY toYYYYMM(timestamp)
ORDER BY (
    team_id, toDate(timestamp), product, document_type, model_name, rendering,
    cityHash64(document_id)
)
-- Without a TTL, rows are kept for ever. Uncomment it to remove them after three months; for a table
-- that exists, ALTER TABLE ... MODIFY TTL toDateTime(timestamp) + INTERVAL 3 MONTH
-- TTL toDateTime(timestamp) + INTERVAL 3 MONTH
SETTINGS index_granularity = 512
