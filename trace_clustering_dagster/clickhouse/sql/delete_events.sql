-- Returns when all replicas are rid of the rows. Table and condition are filled in: what follows the
-- table on a cluster, `ON CLUSTER`, takes no parameter.
ALTER TABLE {table:Identifier}
DELETE WHERE
    {where}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = -1
