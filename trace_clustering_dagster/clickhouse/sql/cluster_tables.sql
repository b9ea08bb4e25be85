-- `trace-clustering schema --grants USER` prints the rights on these tables that a user needs.

-- Each shard's rows are in the tables with `_local`, replicated. Read from and write to the
-- Distributed tables without it: they have the names that trace_clustering_dagster uses. Their last
-- argument sends a row and the row that replaces it to the same shard. The servers' remote_servers
-- should have internal_replication for this cluster.

{tables}
