"""A Postgres server of its own, for the tests and the benchmarks."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

USER = DATABASE = "postgres"


@dataclass(frozen=True)
class Postgres:
    """Where the server is. Its user needs no password."""

    port: int
    host: str = "127.0.0.1"

    @property
    def environment(self) -> dict[str, str]:
        """What the instances of deploy/ read."""
        return {
            "DAGSTER_PG_HOST": self.host,
            "DAGSTER_PG_PORT": str(self.port),
            "DAGSTER_PG_DB": DATABASE,
            "DAGSTER_PG_USERNAME": USER,
            "DAGSTER_PG_PASSWORD": "not looked at",
        }


def initdb() -> str | None:
    """Debian's or another ``initdb``, or None where Postgres is not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which("initdb", path=os.pathsep.join([os.environ["PATH"], *map(str, installed)]))


@contextlib.contextmanager
def postgres(folder: Path, program: str) -> Iterator[Postgres]:
    """A server in ``folder``, which other users can reach; ``program`` is ``initdb``."""
    home = folder / "postgres"
    home.mkdir()
    as_user: Sequence[str] = ()
    if os.geteuid() == 0:  # which Postgres refuses to be
        shutil.chown(home, "postgres", "postgres")
        as_user = ("runuser", "-u", "postgres", "--")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Postgres(probe.getsockname()[1])

    def run(name: str, *arguments: str) -> None:
        command = [*as_user, str(Path(program).with_name(name)), "-D", str(home / "data")]
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=home)

    run("initdb", "-U", USER, "-A", "trust")
    settings = f"-c port={server.port} -c listen_addresses={server.host}"
    settings += f" -c unix_socket_directories={home}"
    run("pg_ctl", "-w", "-l", str(home / "log"), "-o", settings, "start")
    try:
        yield server
    finally:
        run("pg_ctl", "-m", "fast", "stop")
