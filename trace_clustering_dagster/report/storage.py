"""Store the report as a file."""

from typing import TYPE_CHECKING, BinaryIO

import dagster as dg

from trace_clustering_dagster.base.files import is_local
from trace_clustering_dagster.base.io_manager import TeamDayIOManager
from trace_clustering_dagster.base.partitions import day_and_team

if TYPE_CHECKING:
    from upath import UPath


class ReportIOManager(TeamDayIOManager):
    """One HTML page."""

    extension = ".html"

    def get_metadata(self, context: dg.OutputContext, obj: str) -> dict[str, dg.MetadataValue]:
        """The file's size, and a command that opens it: browsers do not follow the UI's links to
        files."""
        day, team_id = day_and_team(context.asset_partition_key)
        size: dict[str, dg.MetadataValue] = {"size_bytes": dg.MetadataValue.int(len(obj.encode()))}
        if not is_local(self._base_path):
            return size
        arguments = f"report --team {team_id} --date {day} --open"
        if self.exploration:
            arguments += f" --explore {self.exploration}"
        return size | {"open_with": dg.MetadataValue.text(self.graph.command(arguments))}

    def write(self, value: str, file: BinaryIO) -> None:
        file.write(value.encode())

    def read(self, path: "UPath") -> str:
        page = path.read_text("utf-8")
        if not page.endswith("</html>"):
            raise ValueError("the page is incomplete: </html> is missing")
        return page
