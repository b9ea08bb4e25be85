-- `trace-clustering schema --grants USER` prints the rights on these tables that a user needs.

-- Each shard's rows are in the tables with `_local`, replicated. Read from and write to the
-- Distributed tables without it: they have the names that trace_clustering_dagster uses. Their last
-- argument sends a row and the row that replaces it to the same shard. The servers' remote_servers
-- should have internal_replication for this cluster.

-- One row for each embedded summary of a trace.
CREATE TABLE IF NOT EXISTS {database:Identifier}.{embeddings_table_local:Identifier}
ON CLUSTER {cluster:Identifier}
{{embeddings_table}}
ENGINE = ReplicatedReplacingMergeTree(inserted_at)
{{embeddings_order}};

CREATE TABLE IF NOT EXISTS {database:Identifier}.{embeddings_table:Identifier}
ON CLUSTER {cluster:Identifier}
AS {database:Identifier}.{embeddings_table_local:Identifier}
ENGINE = Distributed(
    {cluster:Identifier}, {database:Identifier}, {embeddings_table_local:Identifier},
    cityHash64(document_id)
);

-- The summaries ($ai_trace_summary), and the clusters that are emitted ($ai_trace_clusters).
CREATE TABLE IF NOT EXISTS {database:Identifier}.{events_table_local:Identifier}
ON CLUSTER {cluster:Identifier}
{{events_table}}
ENGINE = ReplicatedReplacingMergeTree(_timestamp)
{{events_order}};

CREATE TABLE IF NOT EXISTS {database:Identifier}.{events_table:Identifier}
ON CLUSTER {cluster:Identifier}
AS {database:Identifier}.{events_table_local:Identifier}
ENGINE = Distributed(
    {cluster:Identifier}, {database:Identifier}, {events_table_local:Identifier},
    cityHash64(uuid)
);
