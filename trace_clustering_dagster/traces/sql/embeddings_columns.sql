-- Types of the columns that the queries read. Fails if one is missing or may not be read.
DESCRIBE (
    SELECT
        team_id,
        product,
        document_type,
        {{model_name}} AS model_name,
        rendering,
        document_id,
        timestamp,
        inserted_at,
        embedding
    FROM {database:Identifier}.{embeddings_table:Identifier}
)
