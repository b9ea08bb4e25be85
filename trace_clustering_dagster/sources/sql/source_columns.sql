-- Names and types of what a source gives. Fails if a column that it reads is missing.
DESCRIBE (
    {{source}}
)
