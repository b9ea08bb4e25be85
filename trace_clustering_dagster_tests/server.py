"""A real ClickHouse server for the tests: an npm package carries one as a library."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

SERVER_LIBRARY = Path(
    os.environ.get(
        "CLICKHOUSE_TEST_LIBRARY",
        Path.home() / ".cache" / "trace_clustering_dagster" / "package" / "libchdb.so",
    )
)
_SERVE = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
arguments = [b"clickhouse", *(a.encode() for a in sys.argv[2:])]
library.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
"""
_USERS = """
<clickhouse>
  <users>
    <default><password/><networks><ip>::1</ip><ip>127.0.0.1</ip></networks>
      <profile>default</profile><quota>default</quota></default>
    <writer><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota></writer>
    <reader><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>reader</profile><quota>default</quota></reader>
  </users>
  <profiles><default/><reader><readonly>2</readonly></reader></profiles>
  <quotas><default/></quotas>
</clickhouse>
"""
SERVER_PASSWORD = "p4ss/w:rd@secret"


class Server:
    """A ClickHouse server with the users ``writer`` and ``reader``, on its own folder and port.

    It can be killed, and started again on the same data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        (folder / "users.xml").write_text(_USERS.format(password=SERVER_PASSWORD))
        (folder / "config.xml").write_text(
            f"<clickhouse><users_config>{folder / 'users.xml'}</users_config>"
            "<query_log><database>system</database><table>query_log</table></query_log>"
            "</clickhouse>"
        )

    def start(self) -> None:
        """Return when it answers."""
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _SERVE, str(SERVER_LIBRARY)),
                    f"--path={self._folder / 'data'}",
                    f"--http_port={self.port}",
                    "--listen_host=127.0.0.1",
                    f"--config-file={self._folder / 'config.xml'}",
                    "--query",
                    "SYSTEM START LISTEN HTTP; "
                    "SELECT sleepEachRow(3) FROM system.numbers FORMAT Null "
                    "SETTINGS max_block_size=1, "
                    "function_sleep_max_microseconds_per_block=10000000",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "log").read_text()[-2000:]
                raise RuntimeError(f"ClickHouse did not start: {said}")
            time.sleep(0.05)  # between two looks at the condition

    @property
    def pid(self) -> int:
        """Of the server's process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def url(self, user: str = "writer", database: str = "default") -> str:
        return f"http://{user}@127.0.0.1:{self.port}/{database}"

    def client(self, **kwargs: Any) -> Any:
        import clickhouse_connect

        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username="default", **kwargs
        )


# The tables as PostHog has them, without replication.
SERVER_TABLES = (
    """
    CREATE TABLE {database}.posthog_document_embeddings (
        team_id Int64, product LowCardinality(String), document_type LowCardinality(String),
        model_name LowCardinality(String), rendering LowCardinality(String), document_id String,
        timestamp DateTime64(3, 'UTC'), inserted_at DateTime64(3, 'UTC'),
        content String DEFAULT '', embedding Array(Float64),
        _timestamp DateTime, _offset UInt64, _partition UInt64
    ) ENGINE = ReplacingMergeTree(inserted_at)
    ORDER BY (team_id, toDate(timestamp), product, document_type, model_name, rendering,
        cityHash64(document_id))
    SETTINGS index_granularity = 512
    """,
    """
    CREATE TABLE {database}.events (
        uuid UUID, event String, properties String, timestamp DateTime64(6, 'UTC'),
        team_id Int64, distinct_id String, elements_chain String,
        created_at DateTime64(6, 'UTC'), person_id UUID, person_properties String,
        person_mode Enum8('full' = 0, 'propertyless' = 1, 'force_upgrade' = 2),
        _timestamp DateTime, _offset UInt64
    ) ENGINE = ReplacingMergeTree(_timestamp)
    PARTITION BY toYYYYMM(timestamp)
    ORDER BY (team_id, toDate(timestamp), event, cityHash64(distinct_id), cityHash64(uuid))
    """,
)
