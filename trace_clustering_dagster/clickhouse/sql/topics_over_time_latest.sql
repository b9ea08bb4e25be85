-- One row for each topic and day, of the newest run of each day: earlier runs may have had other
-- topics. Titles are those that people gave; `is_hidden` says what they have hidden.
SELECT
    team_id,
    window_end,
    topic_id,
    lineage,
    if(renamed.text = '', program_title, leftUTF8(renamed.text, 120)) AS title,
    description,
    theme_id,
    theme_title,
    status,
    born,
    last_seen,
    parents,
    traces,
    share,
    users,
    errors,
    cost,
    latency,
    explained,
    centroid,
    founder,
    radius,
    model_name,
    dimension,
    _timestamp,
    (team_id, lineage, topic_id) GLOBAL IN (
        SELECT
            team_id,
            lineage,
            topic_id
        FROM (
            SELECT *
            FROM {output_database:Identifier}.{output_edits_table:Identifier}
            ORDER BY _timestamp DESC
            LIMIT 1 BY team_id, edit_id
        )
        WHERE kind = 'hide' AND revoked = 0
    ) AS is_hidden
FROM (
    SELECT
        * EXCEPT (title),
        title AS program_title
    FROM {output_database:Identifier}.{output_table:Identifier}
    WHERE (team_id, window_end, _timestamp) GLOBAL IN (
        SELECT
            team_id,
            window_end,
            max(_timestamp)
        FROM {output_database:Identifier}.{output_table:Identifier}
        GROUP BY team_id, window_end
    )
) AS rows
GLOBAL LEFT ANY JOIN (
    SELECT
        team_id,
        lineage,
        topic_id,
        text
    FROM (
        SELECT *
        FROM {output_database:Identifier}.{output_edits_table:Identifier}
        ORDER BY _timestamp DESC
        LIMIT 1 BY team_id, edit_id
    )
    WHERE kind = 'rename' AND revoked = 0
    ORDER BY made_at DESC
    LIMIT 1 BY team_id, lineage, topic_id
) AS renamed USING (team_id, lineage, topic_id)
ORDER BY window_end DESC, topic_id
LIMIT 1 BY team_id, window_end, topic_id
