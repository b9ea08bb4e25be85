-- Topics whose traces went to another one, or came from it, the oldest first.
SELECT
    toDate(window_end - INTERVAL 1 DAY) AS day,
    status,
    topic_id,
    arrayJoin(parents) AS other
FROM {output_database:Identifier}.{topics_view:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end > {since:Date}
    AND window_end <= {window_end:DateTime64(3, 'UTC')}
    AND status IN ('split', 'merged')
ORDER BY day, topic_id, other
