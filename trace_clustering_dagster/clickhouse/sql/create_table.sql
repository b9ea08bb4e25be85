-- {comment}
CREATE TABLE IF NOT EXISTS {database:Identifier}.{table:Identifier}
{definition};
