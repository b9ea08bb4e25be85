-- {comment}
CREATE VIEW IF NOT EXISTS {database:Identifier}.{table:Identifier}
AS
{definition};
