"""Load a room's ``.sql`` files and the snippets that they share."""

import re
from pathlib import Path


class Statements(dict[str, str]):
    """The texts of the ``.sql`` files in the folder ``sql`` beside a module, by name.

    ``{{other}}`` in a file includes ``other.sql``, from this room or from ``others``.
    ``{{model_name}}`` stays: it depends on the table, so the connection fills it in.
    """

    def __init__(self, module: str, *others: "Statements") -> None:
        super().__init__()
        self.folders: tuple[Path, ...] = (
            Path(module).parent / "sql",
            *(folder for room in others for folder in room.folders),
        )

    def __missing__(self, name: str) -> str:
        for folder in self.folders:
            if (file := folder / f"{name}.sql").exists():
                text = file.read_text(encoding="utf-8")
                break
        else:
            raise KeyError(f"there is no {name}.sql in {', '.join(map(str, self.folders))}")
        self[name] = re.sub(
            r"{{(?!model_name}}|source}})(\w+)}}", lambda match: self[match[1]].strip(), text
        )
        return self[name]


SQL = Statements(__file__)


def fill_in(sql: str, **texts: str) -> str:
    """Replace ``{name}`` and ``{name:Identifier}`` where values cannot be bound: in printed SQL and
    in DDL."""
    return re.sub(r"{(\w+)(?::Identifier)?}", lambda match: texts[match[1]], sql)
