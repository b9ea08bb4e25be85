-- What runs, `check` and `clusters` need. They also read system.tables and system.columns, which
-- show any user the tables that it may use.
GRANT SELECT ON {database:Identifier}.{embeddings_table:Identifier} TO {user:Identifier};
GRANT SELECT, INSERT ON {database:Identifier}.{events_table:Identifier} TO {user:Identifier};

-- What `forget` needs as well. It allows to remove any event: leave it out, or grant it to another
-- user, who needs the rights above too.
-- GRANT ALTER DELETE ON {database:Identifier}.{events_table:Identifier} TO {user:Identifier};
