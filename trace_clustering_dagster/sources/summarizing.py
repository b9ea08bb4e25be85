"""Summarize the traces that need it, and write the summaries."""

import datetime

from trace_clustering_dagster.clickhouse.connection import Connection
from trace_clustering_dagster.sources.params import SourceParams
from trace_clustering_dagster.sources.tables import NewSummary, write_summaries
from trace_clustering_dagster.sources.values import NewSummaries, RawTraces


def summarize(
    clickhouse: Connection, raw: RawTraces, day: datetime.date, params: SourceParams
) -> NewSummaries:
    """Write a summary of each text.

    Args:
        day: Day of the partition.
    """
    summaries = [
        NewSummary(text.extract, text.started, text.ended, text.steps) for text in raw.texts
    ]
    team = (raw.team_id, raw.team)
    write_summaries(clickhouse, team, day, params.summarizer_name, summaries)
    return NewSummaries(
        summarizer=params.summarizer_name,
        trace_ids=tuple(sorted(text.trace_id for text in raw.texts)),
        stand_ins={},
        source_digest=raw.digest,
    )
