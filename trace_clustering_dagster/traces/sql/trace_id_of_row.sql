-- The trace of a row. In PostHog's newer document types, ::job id follows the trace id, because
-- each job summarizes the trace; trace ids of other document types may contain :: themselves.
    if(
        startsWith(toString(document_type), 'llm-trace-summary-'),
        splitByString('::', document_id)[1],
        document_id
    )
