(
    -- columns that are read
    team_id Int64,
    product LowCardinality(String),
    document_type LowCardinality(String),
    model_name LowCardinality(String),
    rendering LowCardinality(String),
    document_id String, -- the trace id, or PostHog's trace id::job id
    timestamp DateTime64(3, 'UTC'), -- of the trace
    inserted_at DateTime64(3, 'UTC'),
    embedding Array(Float64),
    -- other columns of PostHog's table
    content String DEFAULT '',
    _timestamp DateTime,
    _offset UInt64,
    _partition UInt64
)
ENGINE = ReplacingMergeTree(inserted_at)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (
    team_id, toDate(timestamp), product, document_type, model_name, rendering,
    cityHash64(document_id)
)
-- Without a TTL, rows are kept forever. Uncomment it to remove them after three months; for an
-- existing table: ALTER TABLE ... MODIFY TTL toDateTime(timestamp) + INTERVAL 3 MONTH
-- TTL toDateTime(timestamp) + INTERVAL 3 MONTH
SETTINGS index_granularity = 512
