-- The daily numbers of a team's topics, as the runs of these days knew them: of each day those of the
-- earliest window that has it, of the newest run of that window. Later windows have later topics.
SELECT
    topic_id,
    day,
    measure,
    toDate(window_end) = day + 1 AS has_run,
    n,
    sum,
    log_n,
    log_sum,
    log_sum_squares,
    first_user_n,
    first_user_sum,
    second_user_n,
    second_user_sum,
    value
FROM {output_database:Identifier}.{output_topic_metrics_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND day > {since:Date}
    AND measure IN {measures:Array(String)}
    AND (day, window_end, _timestamp) GLOBAL IN (
        SELECT
            day,
            min((window_end, _timestamp)).1,
            min((window_end, _timestamp)).2
        FROM {output_database:Identifier}.{output_topic_metrics_table:Identifier}
        WHERE
            team_id = {team_id:Int64}
            AND day > {since:Date}
            AND window_end <= {window_end:DateTime64(3, 'UTC')}
            AND (window_end, _timestamp) GLOBAL IN (
                SELECT
                    window_end,
                    max(_timestamp)
                FROM {output_database:Identifier}.{output_topic_metrics_table:Identifier}
                WHERE
                    team_id = {team_id:Int64}
                    AND window_end > {since:Date}
                    AND window_end <= {window_end:DateTime64(3, 'UTC')}
                GROUP BY window_end
            )
        GROUP BY day
    )
LIMIT 1 BY topic_id, day, measure
