-- The windows of a team whose changes name one of the traces.
SELECT DISTINCT window_end
FROM {output_database:Identifier}.{output_topic_changes_table:Identifier}
WHERE
    team_id = {team_id:Int64}
    AND arrayExists(trace -> has({trace_id_hashes:Array(UInt64)}, halfMD5(trace)), evidence)
ORDER BY window_end
