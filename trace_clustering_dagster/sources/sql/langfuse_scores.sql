SELECT
    project_id,
    ifNull(trace_id, ''),
    concat('score/', scores.id),
    '',
    toDateTime64(scores.timestamp, 6, 'UTC'),
    toDateTime64(scores.timestamp, 6, 'UTC'),
    false,
    true,
    toString(scores.name),
    '',
    'score',
    '',
    concat(
        if(ifNull(string_value, '') != '', ifNull(string_value, ''), toString(value)),
        if(ifNull(comment, '') != '', concat(': ', ifNull(comment, '')), '')
    ),
    '',
    '',
    '',
    toInt64(0),
    toInt64(0),
    NULL,
    '',
    ''
FROM {{final:scores}} AS scores
WHERE
    scores.timestamp >= {since:DateTime64(6, 'UTC')}
    AND scores.timestamp < {until:DateTime64(6, 'UTC')}
    AND is_deleted = 0
    AND ifNull(trace_id, '') != ''
    AND environment NOT LIKE 'langfuse-%'
