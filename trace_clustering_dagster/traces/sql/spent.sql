-- US dollars that the runs of all teams have spent in a time. An insert that was repeated counts
-- once.
SELECT ifNull(sum(cost), 0)
FROM (
    SELECT DISTINCT
        team_id,
        window_end,
        asset,
        model,
        run_id,
        _timestamp,
        cost
    FROM {output_database:Identifier}.{output_usage_table:Identifier}
    WHERE
        _timestamp >= {from:DateTime64(3, 'UTC')}
        AND _timestamp < {until:DateTime64(3, 'UTC')}
)
