-- The topic of each trace of a window that has a valid vector.
--
-- The table topics has one row: the ids, themes, radii and centroids of the topics, by ascending
-- id; and the ids that a trace may have had before (earlier_ids), which are these and those that were
-- merged into them, with the positions of the topics that they are now. For each topic, distance_key is filled in: arrayMap over the centroids would copy each vector
-- for each topic. A key is a distance in millionths times 65536, plus the position of the topic: the
-- smallest keys are those of the nearest topics, of equally near ones the one with the smaller id.
--
-- One pass over the vectors: every row of a trace is placed, then the row that
-- one_embedding_per_trace takes is kept. A set of the rows to take would be larger than what is kept.
INSERT INTO {output_database:Identifier}.{output_trace_topics_table:Identifier}
    (
        team_id, trace_id, timestamp, topic_id, theme_id, distance, runner_up_id,
        runner_up_distance, window_end, _timestamp
    )
WITH
    (SELECT ids FROM {topics}) AS ids,
    (SELECT earlier_ids FROM {topics}) AS earlier_ids,
    (SELECT positions FROM {topics}) AS positions,
    (SELECT themes FROM {topics}) AS themes,
    (SELECT radii FROM {topics}) AS radii
SELECT
    {team_id:Int64} AS team_id,
    trace_id,
    chosen.3 AS timestamp,
    if(is_outside, 0, ids[position]) AS topic_id,
    if(is_outside, 0, themes[position]) AS theme_id,
    if(position = 0, NULL, toFloat32(greatest(millionths, 0) / 1e6)) AS distance,
    ids[runner_up] AS runner_up_id,
    if(runner_up = 0, NULL, toFloat32(greatest(bitShiftRight(chosen.6, 16), 0) / 1e6))
        AS runner_up_distance,
    {window_end:DateTime64(3, 'UTC')} AS window_end,
    {version:DateTime64(3, 'UTC')} AS _timestamp
FROM (
    SELECT
        trace_id,
        max(
            (
                -rendering_rank,
                inserted_at,
                ended,
                job,
                key,
                if(key = nearest[1], nearest[2], nearest[1]),
                earlier > 0,
                is_valid
            )
        ) AS chosen,
        bitAnd(chosen.5, 65535) AS position,
        bitShiftRight(chosen.5, 16) AS millionths,
        bitAnd(chosen.6, 65535) AS runner_up,
        millionths > 1e6 * radii[position] * if(chosen.7, {slack:Float64}, 1) AS is_outside
    FROM (
        SELECT
            *,
            arrayPartialSort(2, keys) AS nearest,
            positions[indexOf(earlier_ids, previous.topic_id)] AS earlier,
            if(
                earlier > 0
                AND bitShiftRight(keys[earlier], 16) - bitShiftRight(nearest[1], 16)
                <= 1e6 * {stay:Float64},
                keys[earlier],
                nearest[1]
            ) AS key
        FROM (
            WITH
                (SELECT centroids FROM {topics}) AS centroids,
                CAST(embedding AS Array(Float32)) AS vector,
                -- of Float64: the squares of Float32 overflow
                L2Norm(CAST(vector AS Array(Float64))) AS norm
            SELECT
                {{trace_id_of_row}} AS trace_id,
                indexOf({renderings:Array(String)}, {{rendering_of_row}}) AS rendering_rank,
                inserted_at,
                timestamp AS ended,
                -- what follows the trace id in the document id: all that differs within a trace
                substring(document_id, length({{trace_id_of_row}}) + 1) AS job,
                isFinite(norm) AND norm > 0 AS is_valid,
                CAST([{keys}] AS Array(Int64)) AS keys
            FROM {database:Identifier}.{embeddings_table:Identifier}
            WHERE
                {{window_filter}}
                AND {{model_name}} = {model_name:String}
                AND length(embedding) = {dimension:UInt64}
                AND notEmpty(embedding)
                AND isValidUTF8({{trace_id_of_row}})
        ) AS placed
        LEFT ANY JOIN (
            SELECT trace_id, topic_id
            FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
            WHERE
                team_id = {team_id:Int64}
                AND window_end = {previous_end:DateTime64(3, 'UTC')}
                AND _timestamp = {previous_version:DateTime64(3, 'UTC')}
        ) AS previous USING (trace_id)
    )
    GROUP BY trace_id
)
WHERE chosen.8
SETTINGS
    distributed_product_mode = 'global',
    parallel_distributed_insert_select = 0,
    -- as fast as parallel_hash, with less memory
    join_algorithm = 'hash'
