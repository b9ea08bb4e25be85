-- Returns when all replicas have deleted the rows. Table and condition are filled in, because
-- `ON CLUSTER` accepts no parameters.
ALTER TABLE {table:Identifier}
DELETE WHERE
    {where}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = -1
