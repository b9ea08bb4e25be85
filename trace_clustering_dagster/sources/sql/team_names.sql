-- The names that a team has in its summaries.
SELECT DISTINCT JSONExtractString(properties, '$ai_team_name') AS name
FROM {database:Identifier}.{events_table:Identifier}
WHERE
    {{own_summaries_filter}}
    AND isValidUTF8(name)
    AND name != ''
LIMIT 10
