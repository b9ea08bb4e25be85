-- Returns when all replicas are rid of the rows. The table is filled in: what follows it on a
-- cluster, `ON CLUSTER`, takes no parameter.
ALTER TABLE {table:Identifier}
DELETE WHERE
    {{own_events_filter}}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = -1
