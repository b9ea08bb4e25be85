"""A real ClickHouse server for the tests: an npm package carries one as a library."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trace_clustering_dagster.clickhouse.ddl import Table, grant_rights
from trace_clustering_dagster.clickhouse.warehouse import Warehouse
from trace_clustering_dagster.operations.tables import source_tables, tables
from trace_clustering_dagster.settings import Settings

# of the npm package; .ci/run unpacks it
SERVER_VERSION = "26.7.3-stable.1"
SERVER_LIBRARY = Path(
    os.environ.get(
        "CLICKHOUSE_TEST_LIBRARY",
        Path.home() / f".cache/trace_clustering_dagster/clickhouse-{SERVER_VERSION}"
        "/package/libchdb.so",
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
    <frozen><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>frozen</profile><quota>default</quota></frozen>
    <limited><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>{run_grants}</grants></limited>
    <forgetter><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>{run_grants}{forget_grants}</grants></forgetter>
    <apart><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>{apart_grants}</grants></apart>
    <filling><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>{filling_grants}</grants></filling>
    <blind><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants><query>GRANT SELECT ON limited.events</query></grants></blind>
    <earlier><password>{password}</password><networks><ip>::/0</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants><query>GRANT SELECT ON limited.posthog_document_embeddings</query>
        <query>GRANT SELECT, INSERT ON limited.events</query></grants></earlier>
  </users>
  <profiles>
    <default/><reader><readonly>2</readonly></reader><frozen><readonly>1</readonly></frozen>
  </profiles>
  <quotas><default/></quotas>
</clickhouse>
"""
# Two shards which are two databases of the one server.
_CONFIGURATION = """
<clickhouse>
  <users_config>{users}</users_config>
  <tcp_port>{tcp_port}</tcp_port>
  <query_log><database>system</database><table>query_log</table></query_log>
  <remote_servers>
    <one_shard>
      <shard><replica><host>127.0.0.1</host><port>{tcp_port}</port></replica></shard>
    </one_shard>
    <two_shards>
      <shard><replica><host>127.0.0.1</host><port>{tcp_port}</port>
        <default_database>shard_1</default_database></replica></shard>
      <shard><replica><host>127.0.0.1</host><port>{tcp_port}</port>
        <default_database>shard_2</default_database></replica></shard>
    </two_shards>
  </remote_servers>
</clickhouse>
"""
SERVER_PASSWORD = "p4ss/w:rd@secret"


# Where the user ``apart`` may write.
OUTPUT: dict[str, Any] = {"output_database": "output", "output_prefix": "own_"}


# Whose raw traces the user ``filling`` reads, and where its summaries go.
FILLING = {
    "source": {"name": "otel", "database": "filling_raw"},
    "output": {"database": "filling", "prefix": "own_"},
}


def _printed_grants(beginning: str, warehouse: Warehouse, source: Sequence[Table] = ()) -> str:
    """As the configuration of a user, who is not named there."""
    printed = grant_rights(tables(warehouse), "limited", source=source)
    grants = re.findall(f"{beginning}( .*) TO `limited`;", printed, re.MULTILINE)
    assert grants
    return "".join(f"<query>GRANT{grant}</query>" for grant in grants)


class Server:
    """A ClickHouse server on its own folder and port.

    Users: ``writer`` may do everything; ``reader`` may not write; ``frozen`` may not even change a
    setting; ``limited`` has exactly the rights that `trace-clustering schema --grants` prints for
    runs in the database ``limited``, ``forgetter`` also those for forgetting a team, ``apart`` both
    for an output of its own; ``filling`` those that it prints for runs on a source; ``blind`` may
    only read the events there; ``earlier`` has the rights that version 0.1 asked for.

    It can be killed, and started again on the same data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as http, socket.socket() as tcp:
            http.bind(("127.0.0.1", 0))
            tcp.bind(("127.0.0.1", 0))
            self.port: int = http.getsockname()[1]
            tcp_port = tcp.getsockname()[1]
        limited = Warehouse(url="http://127.0.0.1/limited")
        filling = Settings.model_validate(
            {"clickhouse": {"url": f"http://127.0.0.1:{self.port}/limited"}, **FILLING}
        )
        (folder / "users.xml").write_text(
            _USERS.format(
                password=SERVER_PASSWORD,
                run_grants=_printed_grants("^GRANT", limited),
                forget_grants=_printed_grants("^-- GRANT", limited),
                filling_grants=_printed_grants(
                    "^GRANT", Warehouse.of(filling), source_tables(filling)
                ),
                apart_grants=_printed_grants(
                    "^(?:-- )?GRANT", Warehouse(url=limited.url, **OUTPUT)
                ),
            )
        )
        (folder / "config.xml").write_text(
            _CONFIGURATION.format(users=folder / "users.xml", tcp_port=tcp_port)
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
                    "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
                    "SELECT sleepEachRow(3) FROM system.numbers FORMAT Null "
                    "SETTINGS max_block_size=1, "
                    "function_sleep_max_microseconds_per_block=10000000",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=5).close()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
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

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def url(self, user: str = "writer", database: str = "default") -> str:
        return f"http://{user}@127.0.0.1:{self.port}/{database}"

    def client(self, **kwargs: Any) -> Any:
        import clickhouse_connect

        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username="default", **kwargs
        )
