-- The traces of a team of which any step names the user.
SELECT DISTINCT trace_id
FROM ({{source}})
WHERE
    team = {team:String}
    AND {{short:user}} = {user:String}
    AND isValidUTF8(trace_id)
LIMIT {at_most:UInt64}
SETTINGS distributed_product_mode = 'global'
