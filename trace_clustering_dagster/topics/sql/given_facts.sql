-- What a source knows of its chosen traces, in the columns of event_facts.
SELECT
    trace_id,
    if(person = '', NULL, sipHash64(person)) AS user,
    if(conversation = '', NULL, sipHash64(conversation)) AS session,
    toNullable(errors > 0) AS has_error,
    if(dollars >= 0 AND dollars < 1e9, dollars, NULL) AS cost,
    -- a source has 0 where it knows none
    if(tokens_in + tokens_out > 0, tokens_in, NULL) AS input_tokens,
    if(tokens_in + tokens_out > 0, tokens_out, NULL) AS output_tokens,
    toNullable(microseconds) AS latency,
    mean_score AS score,
    if(scores > 0, 1, NULL) AS has_feedback
FROM {given}
