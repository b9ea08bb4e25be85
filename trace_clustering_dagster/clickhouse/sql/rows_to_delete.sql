-- The rows of Parquet files that a condition selects, by file. It is filled in, because a condition
-- cannot be bound.
SELECT
    _file,
    groupArray(_row_number)
FROM file({files:String}, 'Parquet', {structure:String})
WHERE
    {where}
GROUP BY _file
ORDER BY _file
