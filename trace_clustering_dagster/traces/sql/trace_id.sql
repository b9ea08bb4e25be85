-- The trace of a row. PostHog, since it summarizes a trace once for each of its jobs, appends the
-- job's id; ids of any other document type may contain :: themselves.
    if(
        startsWith(toString(document_type), 'llm-trace-summary-'),
        splitByString('::', document_id)[1],
        document_id
    )
