-- What the traces of each topic have, on each day and over the whole window; topic -1 is the team.
--
-- Sums are exact, whatever the order: decimals, and billionths of logarithms. A person is a user, or a session where the user is
-- unknown; 0 for traces of which neither is known.
SELECT
    topic_id,
    day,
    grouping(day) = 1 AS is_window,
    sum(traces) AS all_traces,
    uniqExactIf(person, person != 0) AS persons,
    sumIf(traces, person = 0) AS of_nobody,
    {by_topic}
FROM (
    SELECT
        arrayJoin([placed_in, -1]) AS topic_id,
        day,
        person,
        count() AS traces,
        {by_person}
    FROM (
        SELECT
            placed_in,
            day,
            coalesce(sipHash64('user', user), sipHash64('session', session), 0) AS person,
            {values}
        FROM (
            SELECT
                topic_id AS placed_in,
                toDate(timestamp, 'UTC') AS day,
                trace_id
            FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
            WHERE
                team_id = {team_id:Int64}
                AND window_end = {window_end:DateTime64(3, 'UTC')}
                AND _timestamp = {placed_version:DateTime64(3, 'UTC')}
                AND topic_id >= 0
                AND cityHash64(trace_id, {seed:UInt64}) <= {hash_cutoff:UInt64}
        ) AS placed
        LEFT ANY JOIN ({facts}) AS facts USING (trace_id)
    )
    GROUP BY topic_id, day, person
)
GROUP BY GROUPING SETS ((topic_id, day), (topic_id))
ORDER BY topic_id, is_window, day
SETTINGS
    max_bytes_before_external_group_by = 400000000,
    distributed_product_mode = 'global'
