(
    team_id Int64,
    window_end DateTime64(3, 'UTC'), -- the end of the day
    topic_id Int64, -- -1 for the whole team, 0 for the traces in no topic
    -- born, back, gone, split, merged, grew, shrank, failing, dearer, slower, disliked, recovered,
    -- or '' if the day's run tells nothing
    kind String,
    measure String, -- traces, error_rate, cost, latency, dislikes, or '' for none
    before Nullable(Float64), -- traces a day, a share, US dollars a trace, or seconds
    after Nullable(Float64),
    low Nullable(Float64), -- the interval of after
    high Nullable(Float64),
    q_value Nullable(Float64), -- false discovery rate over all topics and measures of the day
    traces Nullable(Float64), -- that were judged
    users Nullable(Float64),
    evidence Array(String), -- trace ids
    sentence String,
    _timestamp DateTime64(3, 'UTC') -- of the run: of each window, only the newest counts
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(window_end)
ORDER BY (team_id, window_end, topic_id, kind, measure)
