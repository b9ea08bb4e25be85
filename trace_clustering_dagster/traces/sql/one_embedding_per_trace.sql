-- One vector for each trace whose seeded hash is in the sample's range: the first of the
-- configured renderings, then the newest. The subquery chooses the rows by small columns, so only
-- their vectors are read. In a Distributed table it runs once over all shards, because a trace may
-- have rows on several.
SELECT
    {{trace_id_of_row}} AS trace_id,
    CAST(embedding AS Array(Float32)) AS vector
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE
    {{window_filter}}
    AND {{model_name}} = {model_name:String}
    AND length(embedding) = {dimension:UInt64}
    AND isValidUTF8({{trace_id_of_row}})
    AND ({{trace_id_of_row}}, document_id, {{rendering_of_row}}, inserted_at, timestamp) IN (
        SELECT
            trace_id,
            chosen.1,
            chosen.2,
            chosen.3,
            chosen.4
        FROM (
            SELECT
                {{trace_id_of_row}} AS trace_id,
                argMax(
                    (document_id, {{rendering_of_row}}, inserted_at, timestamp),
                    (
                        -indexOf({renderings:Array(String)}, {{rendering_of_row}}),
                        inserted_at,
                        timestamp,
                        document_id
                    )
                ) AS chosen
            FROM {database:Identifier}.{embeddings_table:Identifier}
            WHERE
                {{window_filter}}
                AND {{model_name}} = {model_name:String}
                AND length(embedding) = {dimension:UInt64}
                AND cityHash64({{trace_id_of_row}}, {seed:UInt64}) <= {hash_cutoff:UInt64}
            GROUP BY trace_id
        )
    )
LIMIT 1 BY trace_id
SETTINGS distributed_product_mode = 'global'
