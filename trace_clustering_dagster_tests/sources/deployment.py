"""A deployment that reads raw traces, and made-up traces for it."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from trace_clustering_dagster.build import graph_of, resources_of
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.settings import Settings
from trace_clustering_dagster_tests.conftest import assets_of, ephemeral_instance, metadata

DAY = datetime.date(2026, 1, 31)
NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc)
ONE_DAY = datetime.timedelta(days=1)
TEAM = "support-bot"
REQUESTS = {
    "refund": "I want my money back for the canceled order, please refund my card",
    "password": "cannot log in, my password is wrong and the reset mail never comes",
    "invoice": "send me the invoice of last month with the VAT number of our company",
}


def span(trace_id: str, ended: datetime.datetime, text: str, **values: Any) -> dict[str, Any]:
    """A generation of one second that answers a text."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.usage.input_tokens": "10",
        "gen_ai.usage.output_tokens": "2",
        "gen_ai.usage.cost": "0.001",
        "user.id": "u1",
        "gen_ai.input.messages": json.dumps(messages),
    }
    service = values.pop("service", TEAM)
    return {
        "Timestamp": f"{ended - datetime.timedelta(seconds=1):%Y-%m-%d %H:%M:%S.%f}",
        "TraceId": trace_id,
        "SpanId": values.pop("step", f"{trace_id}-1"),
        "ParentSpanId": "",
        "SpanName": "chat small",
        "SpanKind": "Client",
        "ServiceName": service,
        "ResourceAttributes": {"service.name": service},
        "SpanAttributes": attributes,
        "Duration": 1_000_000_000,
        "StatusCode": "Ok",
        **values,
    }


def spans_of_days(
    days: Sequence[int], a_day: int = 9, until: datetime.datetime = NOON, **values: Any
) -> list[dict[str, Any]]:
    """Traces about three things, ``days`` before ``until``."""
    kinds = list(REQUESTS)
    return [
        span(
            f"{kinds[i % 3]}-{day}-{i}{values.get('service', '')}",
            until - day * ONE_DAY + datetime.timedelta(minutes=i),
            f"{REQUESTS[kinds[i % 3]]} number {day * 100 + i}",
            **values,
        )
        for day in days
        for i in range(a_day)
    ]


@dataclass
class Source:
    """A deployment that reads raw traces."""

    settings: Settings
    instance: dg.DagsterInstance = field(default_factory=ephemeral_instance)

    def run(
        self,
        day: datetime.date = DAY,
        *,
        team: str = TEAM,
        config: Mapping[str, Any] | None = None,
        only: Sequence[str] | None = None,
        raise_on_error: bool = True,
    ) -> dg.ExecuteInProcessResult:
        """Materialize all assets of a team-day, or some of them."""
        return dg.materialize(
            assets_of(self.settings),
            partition_key=f"{day}|{team_key(team)}",
            instance=self.instance,
            resources=resources_of(self.settings, graph_of(self.settings)),
            selection=only,
            raise_on_error=raise_on_error,
            run_config={"resources": {"params": {"config": dict(config)}}} if config else {},
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the written tables."""
        return Warehouse.of(self.settings).connect().rows(sql, {})

    def summaries(self) -> dict[str, dict[str, Any]]:
        """The properties of all summaries, by trace."""
        rows = self.rows(
            "SELECT properties FROM {database:Identifier}.{events_table:Identifier} "
            "WHERE event = '$ai_trace_summary'"
        )
        found = sorted((json.loads(text) for (text,) in rows), key=lambda p: p["$ai_trace_ended"])
        return {properties["$ai_trace_id"]: properties for properties in found}


def counts(result: dg.ExecuteInProcessResult) -> tuple[int, int, int, int]:
    """Traces that were read, summarized, embedded and sampled."""
    return (
        metadata(result, "raw_traces")["read"],
        metadata(result, "trace_summaries")["new_summaries"],
        metadata(result, "trace_vectors")["new_vectors"],
        metadata(result, "trace_ids")["sampled"],
    )
