-- What the embeddings table has, whatever the filters are: rows and the day of the newest by what
-- the filters go by, the newest first. Reads small columns only; of more than ten thousand kinds of
-- rows it counts those that it meets first.
SELECT
    product,
    document_type,
    toString({{rendering}}) AS row_rendering,
    {{model_name}} AS model_name,
    count() AS row_count,
    toDate(max(timestamp), 'UTC') AS newest_day
FROM {database:Identifier}.{embeddings_table:Identifier}
GROUP BY product, document_type, row_rendering, model_name
ORDER BY newest_day DESC, row_count DESC, product, document_type, row_rendering, model_name
LIMIT {limit:UInt64}
SETTINGS max_rows_to_group_by = 10000, group_by_overflow_mode = 'any'
