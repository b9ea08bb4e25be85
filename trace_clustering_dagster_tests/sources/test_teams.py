"""Teams by name and by key."""

import pytest

from trace_clustering_dagster.fields import team_key
from trace_clustering_dagster.sources.teams import team_keys
from trace_clustering_dagster_tests.sources.stores import StoreMaker


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("1", 1),
        ("9223372036854775807", 2**63 - 1),
        ("support-bot", 8907833361029068),
        ("cm3abcdef0001xyz", 4215774104884534),
    ],
)
def test_a_key_is_the_number_or_a_hash_of_the_name(name: str, key: int) -> None:
    assert team_key(name) == key


NAMES = [
    "0",
    "01",
    "-1",
    "1.0",
    " 1",
    "9223372036854775808",
    "",
    "Ünïcode ☃",
    "a'b\\c\n",
    "x" * 9999,
]


@pytest.mark.parametrize("name", NAMES)
def test_clickhouse_computes_the_same_key(stores: StoreMaker, name: str) -> None:
    found = stores.client.query(
        "SELECT 1 + halfMD5({name:String}) % 9007199254740991", parameters={"name": name}
    ).result_rows
    assert found == [(team_key(name),)] or found == [[team_key(name)]]
    assert 1 <= team_key(name) < 2**53


def test_names_by_key() -> None:
    assert team_keys(["7", "support-bot", "7"]) == {7: "7", 8907833361029068: "support-bot"}


def test_two_names_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'8907833361029068' and 'support-bot'.* rename"):
        team_keys(["support-bot", "8907833361029068"])
