-- `trace-clustering schema --grants USER` prints the rights that a user needs on these tables.

-- The `_local` tables hold each shard's rows, replicated. Read from and write to the Distributed
-- tables: they have the names that trace_clustering_dagster uses. Their sharding key sends a row
-- and its replacement to the same shard. Set internal_replication for this cluster in the servers'
-- remote_servers.

{tables}
