-- The embeddings table without filters: row count and newest day for each combination of the
-- columns that the filters use, newest first. Reads small columns only. Counts the first ten
-- thousand combinations that it finds.
SELECT
    product,
    document_type,
    toString({{rendering_of_row}}) AS row_rendering,
    {{model_name}} AS model_name,
    count() AS row_count,
    toDate(max(timestamp), 'UTC') AS newest_day
FROM {database:Identifier}.{embeddings_table:Identifier}
GROUP BY product, document_type, row_rendering, model_name
ORDER BY newest_day DESC, row_count DESC, product, document_type, row_rendering, model_name
LIMIT {limit:UInt64}
SETTINGS max_rows_to_group_by = 10000, group_by_overflow_mode = 'any'
