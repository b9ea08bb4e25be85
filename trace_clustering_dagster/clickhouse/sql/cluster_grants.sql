-- What runs, `check` and `clusters` need. They also read system.tables and system.columns, which
-- show any user the tables that it may use. The tables with `_local` count where the servers of the
-- cluster ask one another in the user's name (`secret` in remote_servers).
{rights}

-- What `forget` needs as well. It allows to remove any event: leave it out, or grant it to another
-- user, who needs the rights above too.
-- GRANT ON CLUSTER {cluster:Identifier} CLUSTER ON *.* TO {user:Identifier};
{rights_to_forget}
