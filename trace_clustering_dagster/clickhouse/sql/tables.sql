-- `trace-clustering schema --grants USER` prints the rights on these tables that a user needs.

-- One row for each embedded summary of a trace.
CREATE TABLE IF NOT EXISTS {database:Identifier}.{embeddings_table:Identifier}
{{embeddings_table}}
ENGINE = ReplacingMergeTree(inserted_at)
{{embeddings_order}};

-- The summaries ($ai_trace_summary), and the clusters that are emitted ($ai_trace_clusters).
CREATE TABLE IF NOT EXISTS {database:Identifier}.{events_table:Identifier}
{{events_table}}
ENGINE = ReplacingMergeTree(_timestamp)
{{events_order}};
