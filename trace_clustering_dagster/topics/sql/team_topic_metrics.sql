-- The number of rows of a team.
SELECT count()
FROM {output_database:Identifier}.{output_topic_metrics_table:Identifier}
WHERE
    {{team_topic_metrics_filter}}
