-- The names of teams with this key that have a step in a span of time: see `fields.team_key`. Reads
-- the column of the team only.
SELECT DISTINCT toString(ifNull(team, '')) AS team_name
FROM ({{source}})
WHERE
    isValidUTF8(team_name)
    AND team_name != ''
    AND if(
        match(team_name, '^[1-9][0-9]{0,18}$') AND toUInt64OrZero(team_name) < 9223372036854775808,
        toUInt64OrZero(team_name),
        1 + halfMD5(team_name) % 9007199254740991
    ) = {team_id:UInt64}
ORDER BY team_name
LIMIT 2
