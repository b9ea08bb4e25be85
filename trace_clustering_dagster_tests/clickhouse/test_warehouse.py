"""Which configuration is accepted, and which is refused."""

from pathlib import Path
from typing import Any

import dagster as dg
import pydantic
import pytest

from trace_clustering_dagster.clickhouse.warehouse import Warehouse


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "https://host:8443",
        "https://user@host:8443/database",
        "http://user%40example.com@10.0.0.1/",
        "http://[::1]:8123/db",
        "chdb:///folder",
        "chdb://folder",
    ],
)
def test_usual_urls_are_accepted(url: str) -> None:
    assert Warehouse(url=url).url == url


def test_missing_warehouse_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="trace-clustering demo-data") as failure:
        Warehouse(url=f"chdb://{tmp_path / 'nowhere'}").connect()
    assert not failure.value.allow_retries


@pytest.mark.parametrize(
    ("values", "message"),
    [
        *(
            ({"url": url}, "not a ClickHouse URL: use |contains a password: write ")
            for url in (
                "",
                "clickhouse://host",
                "host:8123",
                "chdb:/one-slash",
                "http:///db",
                "http://host:abc",
                "http://host:99999",
                "http://host/db/more",
                "https://user:hunter2@host/db",
                "default:hunter2@host:8443/db",
                "https://user:hun#ter2@host",
                "https://user:hun/ter2@host",
                "https://host:9/?user=x&password=hunter2",
            )
        ),
        ({"events_table": "events; DROP TABLE x"}, "is not the name of a table"),
        ({"embeddings_table": "../elsewhere"}, "is not the name of a table"),
        *(
            ({"events_table": name}, "is not the name of a table")
            for name in ("events\n", "événements", "ｅvents", "evеnts", "1st", "a.b", "`a`", "")
        ),
        ({"events_table": "x" * 5000}, "'xxx[x]{97}' is not the name of a table"),
    ],
)
def test_configuration_is_checked_before_any_work(values: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message) as error:
        Warehouse(**values)
    assert "hun" not in str(error.value)


def test_password_in_the_place_of_its_name_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="not the name of an environment variable") as error:
        Warehouse(password_variable="hunter2")
    assert "hunter2" not in str(error.value)
