(
    team_id Int64,
    window_end DateTime64(3, 'UTC'), -- the end of the day
    topic_id Int64, -- 0 for the traces in no topic
    lineage Date, -- on which the first topics were made: ids of one lineage are comparable
    title String,
    description String,
    theme_id Int64, -- 0 for none
    theme_title String,
    status String, -- new, steady, growing, shrinking, silent, back, split, merged, gone
    born Date,
    last_seen Date,
    parents Array(Int64), -- the topics that it came from; of a merged topic, the one it went to
    traces Nullable(Float64), -- of the day, like all numbers
    share Nullable(Float64), -- of the day's traces
    users Nullable(Float64),
    errors Nullable(Float64), -- traces with an error
    cost Nullable(Float64), -- US dollars
    latency Nullable(Float64), -- seconds, the mean
    explained Nullable(Float64), -- share of the spread of its new traces that it explains
    centroid Array(Float32) TTL toDateTime(window_end) + INTERVAL 90 DAY,
    founder Array(Float32) TTL toDateTime(window_end) + INTERVAL 90 DAY,
    radius Float64, -- cosine distance from the centroid up to which traces belong to it
    model_name String,
    dimension Int64,
    _timestamp DateTime64(3, 'UTC') -- of the run: of each window, only the newest counts
)
ENGINE = ReplacingMergeTree(_timestamp)
PARTITION BY toYYYYMM(window_end)
ORDER BY (team_id, window_end, topic_id)
