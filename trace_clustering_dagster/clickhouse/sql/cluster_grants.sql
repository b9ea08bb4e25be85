-- Rights for runs, `check` and `clusters`. They also read system.tables and system.columns, which
-- show every user the tables that it may use. The rights on the `_local` tables are needed if the
-- servers of the cluster query each other as that user (`secret` in remote_servers).
{rights}

-- Additional rights for `forget`. They allow deleting any {deletable}: leave them out, or grant them to
-- another user, together with the rights above.
-- GRANT ON CLUSTER {cluster:Identifier} CLUSTER ON *.* TO {user:Identifier};
{rights_to_forget}
