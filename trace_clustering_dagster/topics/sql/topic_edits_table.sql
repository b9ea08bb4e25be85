(
    team_id Int64,
    edit_id String,
    lineage Date, -- of the topics: ids of another lineage are other topics
    topic_id Int64, -- 0 for the whole team
    kind String, -- rename, hide, merge, pin, rebuild
    target_id Int64, -- of a merge: the topic that gets the traces; else 0
    text String, -- of a rename: the title
    author String,
    made_at DateTime64(3, 'UTC'),
    applies_from DateTime64(3, 'UTC'), -- runs whose window ends after it obey a merge, pin, rebuild
    revoked UInt8, -- 1 if it was undone
    _timestamp DateTime64(3, 'UTC') -- of this row: of each edit, only the newest counts
)
ENGINE = ReplacingMergeTree(_timestamp)
ORDER BY (team_id, edit_id)
