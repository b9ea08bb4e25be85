-- The number of rows of a team, or of some of its days and topics.
SELECT count()
FROM {output_database:Identifier}.{titled_table:Identifier}
WHERE
    {{team_topics_filter}}
