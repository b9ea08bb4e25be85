-- A team's edits, as the newest row of each says, oldest first. Others than this program knows are left out.
SELECT
    edit_id,
    lineage,
    topic_id,
    kind,
    target_id,
    text,
    author,
    made_at,
    applies_from,
    revoked,
    _timestamp
FROM (
    SELECT *
    FROM {output_database:Identifier}.{output_topic_edits_table:Identifier}
    WHERE team_id = {team_id:Int64}
    ORDER BY _timestamp DESC, revoked DESC
    LIMIT 1 BY edit_id
)
WHERE
    kind IN {kinds:Array(String)}
    AND match(edit_id, '^[0-9A-Za-z_-]{1,64}$')
    AND isValidUTF8(text)
    AND isValidUTF8(author)
ORDER BY made_at, edit_id
