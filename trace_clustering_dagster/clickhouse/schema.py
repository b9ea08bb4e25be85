"""The columns that the queries rely on, as ClickHouse types.

The tables of a server may have more columns and other orders; those of an embedded warehouse are
read from Parquet files with just these, and a file that lacks one reads as its default.
"""

EMBEDDINGS_COLUMNS = {
    "team_id": "Int64",
    "product": "String",
    "document_type": "String",
    "model_name": "String",
    "rendering": "String",
    "document_id": "String",
    "timestamp": "DateTime64(3, 'UTC')",
    "inserted_at": "DateTime64(3, 'UTC')",
    "content": "String",
    "embedding": "Array(Float64)",
}

EVENTS_COLUMNS = {
    "uuid": "UUID",
    "event": "String",
    "properties": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "team_id": "Int64",
    "distinct_id": "String",
    "created_at": "DateTime64(6, 'UTC')",
    "_timestamp": "DateTime('UTC')",
}
