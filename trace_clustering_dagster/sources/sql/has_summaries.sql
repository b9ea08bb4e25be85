-- Whether a team has any summary by a summarizer.
SELECT count() > 0
FROM (
    SELECT 1
    FROM {database:Identifier}.{events_table:Identifier}
    WHERE
        {{summaries_filter}}
    LIMIT 1
)
