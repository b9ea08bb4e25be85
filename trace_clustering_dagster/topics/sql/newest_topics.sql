-- The end of the newest day of a team's topics, at most so late; no row if there is none.
SELECT max(window_end)
FROM {output_database:Identifier}.{topics_view:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND window_end <= {until:DateTime64(3, 'UTC')}
HAVING count() > 0
