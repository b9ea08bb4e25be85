-- The rendering of a row. PostHog's newer document types end with it, and their column rendering
-- once held a batch id instead.
    if(
        startsWith(toString(document_type), 'llm-trace-summary-'),
        substring(toString(document_type), length('llm-trace-summary-') + 1),
        rendering
    )
