-- The user and the session of each trace; '' where PostHog's $ai_ events name none.
SELECT
    trace_id,
    -- SDKs put the trace in place of a user that they do not know
    minIf(distinct_id, distinct_id NOT IN ('', trace_id)) AS user,
    minIf(session, session != '') AS session
FROM (
    SELECT
        JSONExtractString(properties, '$ai_trace_id') AS trace_id,
        JSONExtractString(properties, '$ai_session_id') AS session,
        distinct_id
    FROM {database:Identifier}.{events_table:Identifier}
    WHERE
        team_id = {team_id:Int64}
        AND event IN ('$ai_generation', '$ai_embedding', '$ai_span', '$ai_trace')
        AND timestamp >= {window_start:DateTime64(6, 'UTC')}
        AND timestamp < {window_end:DateTime64(6, 'UTC')}
        AND isValidUTF8(properties)
        AND halfMD5(trace_id) IN {trace_id_hashes:Array(UInt64)}
)
GROUP BY trace_id
