-- The number of rows of a team.
SELECT count()
FROM {output_database:Identifier}.{output_topic_edits_table:Identifier}
WHERE
    {{team_topic_edits_filter}}
