-- The number of rows of a team's window, of replaced ones too, and when the newest were written.
SELECT
    count(),
    max(_timestamp)
FROM {output_database:Identifier}.{output_topic_metrics_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end = {window_end:DateTime64(3, 'UTC')}
