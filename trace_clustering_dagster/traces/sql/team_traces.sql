-- The number of distinct traces of a team over all time.
SELECT uniqExact({{trace_id_of_row}})
FROM {database:Identifier}.{embeddings_table:Identifier}
WHERE team_id = {team_id:Int64}
