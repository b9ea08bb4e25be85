(
    team_id Int64,
    topic_id Int64, -- 0 for the traces in no topic, -1 for all traces of the team
    day Date, -- on which the traces ended
    window_end DateTime64(3, 'UTC'),
    measure String,
    n Nullable(Float64), -- traces with a value; null if the day is unknown
    sum Nullable(Float64),
    sum_squares Nullable(Float64),
    log_n Nullable(Float64), -- traces with a value above 0, for cost and latency
    log_sum Nullable(Float64), -- of the logarithm of these values
    log_sum_squares Nullable(Float64),
    first_user_n Nullable(Float64), -- traces of the busiest user
    first_user_sum Nullable(Float64),
    second_user_n Nullable(Float64),
    second_user_sum Nullable(Float64),
    value Nullable(Float64), -- null if nothing is known, never 0
    low Nullable(Float64), -- the 95 % interval
    high Nullable(Float64),
    estimated UInt8, -- 1 if the value is of a sample of the day's traces
    _timestamp DateTime64(3, 'UTC') -- of the run: of each window, only the newest counts
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(window_end)
ORDER BY (team_id, window_end, topic_id, measure, day)
TTL toDateTime(window_end) + INTERVAL 180 DAY
