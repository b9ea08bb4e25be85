-- The rendering of a row. PostHog's newer document types end with it, and for a while the column
-- held the id of a batch instead.
    if(
        startsWith(toString(document_type), 'llm-trace-summary-'),
        substring(toString(document_type), length('llm-trace-summary-') + 1),
        rendering
    )
