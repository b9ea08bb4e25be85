-- Whether a team has any summary by a summarizer.
SELECT count() > 0
FROM (
    SELECT 1
    FROM {database:Identifier}.{events_table:Identifier}
    WHERE
        team_id = {team_id:Int64}
        AND event = '$ai_trace_summary'
        AND isValidUTF8(properties)
        AND JSONExtractString(properties, '$ai_summary_source') = {summarizer:String}
    LIMIT 1
)
