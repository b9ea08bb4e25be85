GRANT {rights} ON {database:Identifier}.{table:Identifier} TO {user:Identifier};
