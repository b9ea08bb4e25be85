(
    team_id Int64,
    trace_id String,
    timestamp DateTime64(3, 'UTC'), -- of the trace
    topic_id Int64, -- 0 for a trace that is in no topic; -1 for a window that lost all its traces
    theme_id Int64, -- 0 for none
    distance Nullable(Float32), -- cosine distance to the nearest topic, also of an unsorted trace
    runner_up_id Int64, -- of the nearest other topic; 0 for none
    runner_up_distance Nullable(Float32),
    window_end DateTime64(3, 'UTC'),
    _timestamp DateTime64(3, 'UTC') -- of the run: of each window, only the newest counts
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(window_end)
ORDER BY (team_id, window_end, trace_id)
TTL toDateTime(window_end) + INTERVAL {days} DAY
