"""The columns that the queries use, with their ClickHouse types.

Tables on a server may have more columns, in any order. In an embedded warehouse, a column that a
Parquet file lacks has its default value. Only ``model_name`` may be missing in both: see
``Connection.has_model_column``.
"""

import re

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

USAGE_COLUMNS = {
    "team_id": "Int64",
    "window_end": "DateTime64(3, 'UTC')",
    "asset": "String",
    "model": "String",
    "requests": "UInt64",
    "cached": "UInt64",
    "prompt_tokens": "UInt64",
    "completion_tokens": "UInt64",
    "cost": "Nullable(Float64)",
    "seconds": "Float64",
    "reasons": "String",
    "run_id": "String",
    "_timestamp": "DateTime64(3, 'UTC')",
}

TRACE_TOPICS_COLUMNS = {
    "team_id": "Int64",
    "trace_id": "String",
    "timestamp": "DateTime64(3, 'UTC')",
    "topic_id": "Int64",
    "theme_id": "Int64",
    "distance": "Nullable(Float32)",
    "runner_up_id": "Int64",
    "runner_up_distance": "Nullable(Float32)",
    "window_end": "DateTime64(3, 'UTC')",
    "_timestamp": "DateTime64(3, 'UTC')",
}

TOPIC_METRICS_COLUMNS = {
    "team_id": "Int64",
    "topic_id": "Int64",
    "day": "Date",
    "window_end": "DateTime64(3, 'UTC')",
    "measure": "String",
    "n": "Nullable(Float64)",
    "sum": "Nullable(Float64)",
    "sum_squares": "Nullable(Float64)",
    "log_n": "Nullable(Float64)",
    "log_sum": "Nullable(Float64)",
    "log_sum_squares": "Nullable(Float64)",
    "first_user_n": "Nullable(Float64)",
    "first_user_sum": "Nullable(Float64)",
    "second_user_n": "Nullable(Float64)",
    "second_user_sum": "Nullable(Float64)",
    "value": "Nullable(Float64)",
    "low": "Nullable(Float64)",
    "high": "Nullable(Float64)",
    "estimated": "UInt8",
    "_timestamp": "DateTime64(3, 'UTC')",
}

TOPICS_OVER_TIME_COLUMNS = {
    "team_id": "Int64",
    "window_end": "DateTime64(3, 'UTC')",
    "topic_id": "Int64",
    "lineage": "Date",
    "title": "String",
    "description": "String",
    "theme_id": "Int64",
    "theme_title": "String",
    "status": "String",
    "born": "Date",
    "last_seen": "Date",
    "parents": "Array(Int64)",
    "traces": "Nullable(Float64)",
    "share": "Nullable(Float64)",
    "users": "Nullable(Float64)",
    "errors": "Nullable(Float64)",
    "cost": "Nullable(Float64)",
    "latency": "Nullable(Float64)",
    "explained": "Nullable(Float64)",
    "centroid": "Array(Float32)",
    "founder": "Array(Float32)",
    "radius": "Float64",
    "model_name": "String",
    "dimension": "Int64",
    "_timestamp": "DateTime64(3, 'UTC')",
}

TOPIC_CHANGES_COLUMNS = {
    "team_id": "Int64",
    "window_end": "DateTime64(3, 'UTC')",
    "topic_id": "Int64",
    "kind": "String",
    "measure": "String",
    "before": "Nullable(Float64)",
    "after": "Nullable(Float64)",
    "low": "Nullable(Float64)",
    "high": "Nullable(Float64)",
    "q_value": "Nullable(Float64)",
    "traces": "Nullable(Float64)",
    "users": "Nullable(Float64)",
    "evidence": "Array(String)",
    "sentence": "String",
    "_timestamp": "DateTime64(3, 'UTC')",
}

TOPIC_EDITS_COLUMNS = {
    "team_id": "Int64",
    "edit_id": "String",
    "lineage": "Date",
    "topic_id": "Int64",
    "kind": "String",
    "target_id": "Int64",
    "text": "String",
    "author": "String",
    "made_at": "DateTime64(3, 'UTC')",
    "applies_from": "DateTime64(3, 'UTC')",
    "revoked": "UInt8",
    "_timestamp": "DateTime64(3, 'UTC')",
}

# Columns that a file of an embedded warehouse may lack: their default values do not change which
# rows are read. ``model_name`` may be missing in all files or in none.
OPTIONAL_COLUMNS = frozenset(
    {"model_name", "inserted_at", "content", "uuid", "distinct_id", "created_at", "_timestamp"}
)

# Types that give the same results. Not accepted: a Date would move traces to another window, a NULL
# time is in no window, and the padding of a FixedString becomes part of an id.
_ACCEPTED = {
    "Int64": r"U?Int\d+",
    "String": r"String|Enum(8|16)\(.*\)",
    "UUID": "UUID|String",
    "DateTime": r"DateTime(64)?(\(.*\))?",
    "Array": r"Array\((Float32|Float64|BFloat16)\)",
}


def is_accepted(type_: str, needed: str) -> bool:
    """Whether a column of ``type_`` gives the same results as one of the type ``needed``."""
    wrappers = "LowCardinality" if needed.startswith("DateTime") else "LowCardinality|Nullable"
    while wrapped := re.fullmatch(rf"(?:{wrappers})\((.*)\)", type_):
        type_ = wrapped[1]
    accepted = next(types for family, types in _ACCEPTED.items() if needed.startswith(family))
    return bool(re.fullmatch(accepted, type_))
