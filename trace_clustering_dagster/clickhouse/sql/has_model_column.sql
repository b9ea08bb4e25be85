-- Whether the embeddings table has a column model_name.
SELECT count() > 0
FROM system.columns
WHERE
    database = {database:String}
    AND table = {embeddings_table:String}
    AND name = 'model_name'
