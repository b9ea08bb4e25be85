-- {comment}
CREATE TABLE IF NOT EXISTS {database:Identifier}.{table_local:Identifier}
ON CLUSTER {cluster:Identifier}
{definition};

CREATE TABLE IF NOT EXISTS {database:Identifier}.{table:Identifier}
ON CLUSTER {cluster:Identifier}
AS {database:Identifier}.{table_local:Identifier}
ENGINE = Distributed(
    {cluster:Identifier}, {database:Identifier}, {table_local:Identifier},
    cityHash64({sharded_by:Identifier})
);
