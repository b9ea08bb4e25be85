-- The number of rows of a team and instance.
SELECT count()
FROM {output_database:Identifier}.{output_usage_table:Identifier}
WHERE
    {{team_usage_filter}}
