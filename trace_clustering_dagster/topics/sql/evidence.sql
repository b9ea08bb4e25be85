-- Of each change: the persons in its traces, how many traces are of nobody who is known, and the
-- traces that show it best: those nearest to the topic's centroid that are as bad as the change says.
SELECT
    change,
    uniqExactIf(person, person != 0) + (countIf(person = 0) > 0) AS persons,
    arrayMap(x -> x.2, groupArraySortedIf(5)((ifNull(distance, 2), trace_id), shows_it)) AS traces
FROM (
    SELECT
        arrayJoin(
            arrayFilter(
                i -> ({topics:Array(Int64)}[i] = -1 OR {topics:Array(Int64)}[i] = placed.topic_id)
                    AND toDate(placed.timestamp, 'UTC') >= {days:Array(Date)}[i],
                arrayEnumerate({topics:Array(Int64)})
            )
        ) AS change,
        {measures:Array(String)}[change] AS measure,
        {levels:Array(Float64)}[change] AS level,
        trace_id,
        distance,
        coalesce(sipHash64('user', user), sipHash64('session', session), 0) AS person,
        ifNull(
            multiIf(
                measure = 'error_rate', has_error,
                measure = 'cost', toFloat64(cost) >= level,
                measure = 'latency', latency / 1e6 >= level,
                measure = 'dislikes', score <= 0.5,
                1
            ),
            0
        ) AS shows_it
    FROM (
        SELECT
            topic_id,
            timestamp,
            trace_id,
            distance
        FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
        WHERE
            team_id = {team_id:Int64}
            AND window_end = {window_end:DateTime64(3, 'UTC')}
            AND _timestamp = {placed_version:DateTime64(3, 'UTC')}
            AND topic_id >= 0
    ) AS placed
    LEFT ANY JOIN ({facts}) AS facts USING (trace_id)
)
GROUP BY change
ORDER BY change
SETTINGS distributed_product_mode = 'global'
