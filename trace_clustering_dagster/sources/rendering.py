"""The SQL of a source for one store: its tables, the columns they have, how they hold attributes.

In a source's file, ``{{...}}`` stands for:

* ``{{table:name}}``: the table. Optional columns that it lacks are empty.
* ``{{final:name}}``: the same without rows that others replace.
* ``{{team}}``: the team's name.
* ``{{a:key}}``: an attribute of the span, a text, "" if it is missing.
* ``{{one_of:key, ...}}``: the first of these attributes that is not "".
* ``{{of:column/key}}``: an attribute in another column.
* ``{{attribute:column}}``: the attribute that a setting names, in one of the columns.
* ``{{flat:prefix}}``: the attributes ``prefix.*``, as JSON.
* ``{{event:name/key}}``: an attribute of the first event of this name.
* ``{{events:name, ...}}``: the events of these names and their attributes, as JSON.
* ``{{present:column}}``: whether the span is one of a language model's application.
* ``{{first:key, ...}}``: the first property that is there.
* any other ``{{word}}`` and ``{{word:argument}}``: ``word.sql``, with the argument in place of
  ``{argument}``.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from trace_clustering_dagster.clickhouse.statements import Statements, fill_in
from trace_clustering_dagster.sources.catalog import Source, split

# A span with one of these attributes belongs to an application of language models.
MARKS = (
    "gen_ai.operation.name",
    "gen_ai.system",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.tool.name",
    "gen_ai.agent.name",
    "openinference.span.kind",
    "traceloop.span.kind",
    "llm.request.type",
    "ai.operationId",
    "langfuse.observation.type",
    "langsmith.span.kind",
    "mlflow.spanType",
    "genkit:type",
    "gcp.vertex.agent.llm_request",
    "gcp.vertex.agent.tool_call_args",
    "lk.response.text",
    "lk.function_tool.name",
)


_SNIPPET = re.compile(r"{{(\w+)(?::(.+?))?}}", re.DOTALL)
# Snippets that depend on the store.
_OF_STORE = (
    *("table", "final", "team", "a", "one_of", "of", "attribute"),
    *("flat", "event", "events", "present", "first"),
)


@dataclass(frozen=True)
class Store:
    """A source's tables as they are.

    Attributes:
        names: Names of the tables, by the source's names.
        columns: Types of the columns of the tables that exist, by name and column.
        is_embedded: Whether they are Parquet files, where no engine replaces rows.
        has_team_attribute: Whether a setting names the attribute that holds the team.
        snippets: The room's ``.sql`` files.
    """

    source: Source
    names: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]
    is_embedded: bool
    has_team_attribute: bool
    snippets: Statements

    def absent(self) -> list[str]:
        """Needed tables that do not exist."""
        needed = (self.names[table] for table in self.source.tables)
        return [name for name in needed if name not in self.columns]

    def missing(self) -> list[str]:
        """Optional tables and columns that do not exist: they are read as empty."""
        found = []
        for table, columns in self.source.optional.items():
            name = self.names[table]
            if name in self.columns:
                found += [f"{name}.{column}" for column in columns if not self._has(table, column)]
            else:
                found.append(name)
        return found

    def _columns_of(self, table: str) -> Mapping[str, str]:
        return self.columns.get(self.names.get(table, table), {})

    def _has(self, table: str, column: str) -> bool:
        columns = self._columns_of(table)
        # `Events.Name` may also be a field of `Events`, an array of tuples
        nested, _, field = column.partition(".")
        return column in columns or bool(
            field and re.search(rf"[(, ]{field} ", columns.get(nested, ""))
        )

    def render(self) -> str:
        """The source's query: one SELECT with bound ``database``, ``team``, ``since``, ``until``
        and ``team_attribute``."""
        handlers = {
            "table": self._table,
            "final": lambda table: self._table(table, newest_only=True),
            "a": lambda key: self._attribute("SpanAttributes", key),
            "one_of": self._one_of,
            "of": lambda argument: self._attribute(*argument.split("/", 1)),
            "attribute": self._named_attribute,
            "flat": self._flat,
            "event": self._event,
            "events": self._events,
            "present": self._present,
            "first": _first,
        }

        def fill(match: re.Match[str]) -> str:
            word, argument = match[1], match[2] or ""
            if word == "team":
                attribute = self.has_team_attribute and self.source.team_attribute
                return render(attribute or self.source.team or "team")
            if word in handlers:
                return handlers[word](argument)
            return render(_snippet(self.snippets, word, argument))

        def render(sql: str) -> str:
            return _SNIPPET.sub(fill, sql)

        return render(self.source.query)

    def _table(self, table: str, newest_only: bool = False) -> str:
        name = self.names.get(table, table)
        optional = self.source.optional.get(table, {})
        empty = [
            f"CAST(defaultValueOfTypeName({_quoted(type_)}), {_quoted(type_)}) AS `{column}`"
            for column, type_ in optional.items()
            # the other snippets know that these are missing
            if not self._has(table, column) and column not in self._in_snippets()
        ]
        version, key = self.source.newest.get(table, ("", "")) if newest_only else ("", "")
        if name not in self.columns and table not in self.source.tables:
            return fill_in(self.snippets["no_rows"].strip(), columns=", ".join(empty))
        bound = f"{{database:Identifier}}.{name}"
        if not empty and not version:
            return bound
        snippet = self.snippets["rows"]
        if version and self.is_embedded:
            snippet = self.snippets["newest_rows"]
        elif version:
            snippet = self.snippets["final_rows"]
        return fill_in(
            snippet.strip(),
            columns=", ".join(["*", *empty, *self._keys_of_maps(table)]),
            table=bound,
            version=version,
            key=key,
        )

    def _keys_of_maps(self, table: str) -> list[str]:
        # a subquery has no subcolumns: without them, the values would be read for the keys
        return [
            f"`{column}`.keys AS `{column}.keys`"
            for column, type_ in self._columns_of(table).items()
            if type_.startswith("Map(")
        ]

    def _in_snippets(self) -> set[str]:
        """Columns that the query names in snippets with arguments only."""
        named = re.findall(r"{{(?:of|attribute):(\w+)", self.source.text)
        return {*named, "Events.Name", "Events.Attributes"}

    def _type_of(self, column: str) -> str:
        types = (self._columns_of(table).get(column, "") for table in self.source.tables)
        return next((type_ for type_ in types if type_), "")

    def _is_json(self, column: str) -> bool:
        return self._type_of(column).startswith(("JSON", "Array(JSON"))

    def _is_missing(self, column: str) -> bool:
        return any(
            column in columns and table in self.source.tables and not self._has(table, column)
            for table, columns in self.source.optional.items()
        )

    def _attribute(self, column: str, key: str) -> str:
        if self._is_missing(column):
            return "''"
        if self._is_json(column):
            return f"ifNull(toString({column}.{_path(key)}), '')"
        return f"{column}['{key}']"

    def _one_of(self, argument: str) -> str:
        keys = split(argument)
        if self._is_json("SpanAttributes"):
            given = [f"nullIf({self._attribute('SpanAttributes', key)}, '')" for key in keys]
            return f"coalesce({', '.join(given)}, '')"
        # one pass over a row's attributes, not one for each key
        named, ranked = ", ".join(map(_quoted, keys)), [*range(len(keys), 0, -1)]
        ranks = (
            "arrayMap((key, value) -> (value != '') "
            f"* transform(key, [{named}], {ranked}, 0), "
            "mapKeys(SpanAttributes), mapValues(SpanAttributes))"
        )
        # by a name, because the text is long; equal texts may have the same
        name = f"ranks_{zlib.crc32(argument.encode()):08x}"
        best = f"indexOf({ranks} AS {name}, greatest(arrayMax({name}), 1))"
        return f"ifNull(mapValues(SpanAttributes)[{best}], '')"

    def _named_attribute(self, column: str) -> str:
        if self._is_missing(column):
            return "''"
        if self._is_json(column):
            return f"ifNull(toString(getSubcolumn({column}, {{team_attribute:String}})), '')"
        return f"{column}[{{team_attribute:String}}]"

    def _flat(self, prefix: str) -> str:
        if self._is_json("SpanAttributes"):
            return f"toJSONString(SpanAttributes.^{_path(prefix)})"
        return f"toJSONString(mapFilter((key, _) -> startsWith(key, '{prefix}.'), SpanAttributes))"

    def _event(self, argument: str) -> str:
        name, _, key = argument.partition("/")
        if self._is_missing("Events.Name"):
            return "''"
        first = (
            f"arrayFirst(event -> event.1 = '{name}', "
            "arrayZip(`Events.Name`, `Events.Attributes`)).2"
        )
        if self._is_json("Events.Attributes"):
            return f"ifNull(toString(getSubcolumn({first}, '{key}')), '')"
        return f"{first}['{key}']"

    def _events(self, argument: str) -> str:
        if self._is_missing("Events.Name"):
            return "'[]'"
        names = ", ".join(f"'{name}'" for name in split(argument))
        return (
            f"toJSONString(arrayFilter(event -> event.1 IN ({names}), "
            "arrayZip(`Events.Name`, `Events.Attributes`)))"
        )

    def _present(self, column: str) -> str:
        if self._is_json(column):
            return " OR ".join(f"isNotNull({column}.{_path(mark)})" for mark in MARKS)
        marks = ", ".join(f"'{mark}'" for mark in MARKS)
        # the subcolumn: the values hold the content
        return f"hasAny({column}.keys, [{marks}])"


def to_copy(source: Source, snippets: Statements) -> str:
    """The text of a source's file, with the snippets that are the same for every store."""

    def fill(match: re.Match[str]) -> str:
        if match[1] in _OF_STORE:
            return match[0]
        return expand(_snippet(snippets, match[1], match[2] or ""))

    def expand(sql: str) -> str:
        return _SNIPPET.sub(fill, sql)

    return expand(source.text).strip()


def with_snippets(sql: str, snippets: Statements) -> str:
    """A query with its snippets that have an argument, ``{{word:argument}}``."""
    return re.sub(r"{{(\w+):(\w+)}}", lambda m: _snippet(snippets, m[1], m[2]), sql)


def _snippet(snippets: Statements, word: str, argument: str) -> str:
    return snippets[word].strip().replace("{argument}", argument)


def _path(key: str) -> str:
    return ".".join(f"`{part}`" for part in key.split("."))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def _first(argument: str) -> str:
    found = [
        f"if(JSONType(properties, '{key}') = 'String', JSONExtractString(properties, '{key}'), "
        f"nullIf(nullIf(JSONExtractRaw(properties, '{key}'), 'null'), ''))"
        for key in split(argument)
    ]
    return f"coalesce({', '.join(found)}, '')"
