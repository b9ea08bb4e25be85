(
    team_id Int64,
    window_end DateTime64(3, 'UTC'),
    asset LowCardinality(String), -- of a named instance: name/asset
    model LowCardinality(String),
    requests UInt64, -- retries included
    cached UInt64, -- answers that were kept from earlier runs
    prompt_tokens UInt64,
    completion_tokens UInt64,
    cost Nullable(Float64), -- US dollars; NULL if the model's prices are unknown
    seconds Float64,
    reasons String, -- JSON: why the model was of no use for some items, with their number
    run_id String, -- of Dagster
    _timestamp DateTime64(3, 'UTC') -- of the row: a retry in the same run adds another
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(_timestamp)
ORDER BY (team_id, window_end, asset, model, run_id, _timestamp)
