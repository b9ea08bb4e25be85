-- The number of rows of a team or of some of its traces.
SELECT count()
FROM {output_database:Identifier}.{output_trace_topics_table:Identifier}
WHERE
    {{team_trace_topics_filter}}
