-- {comment}
CREATE VIEW IF NOT EXISTS {database:Identifier}.{table:Identifier}
ON CLUSTER {cluster:Identifier}
AS
{definition};
