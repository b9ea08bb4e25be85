GRANT ON CLUSTER {cluster:Identifier} {rights}
ON {database:Identifier}.{table:Identifier} TO {user:Identifier};
