"""Columns of a table, made without pandas."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trace_clustering_dagster.base.formats import column

MATRICES = [np.ones((2, 3), np.float32), np.full((1, 3), np.nan, np.float32)]
ROWS = [np.array([1, 2, 3], np.int32), np.array([], np.int32)]


def stored(values: pa.Array) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"column": values}), file, write_page_checksum=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (("a", "", "\u00fc\u20ac\x00b"), pa.string()),
        ([], pa.string()),
        ([1, -(2**63)], pa.int64()),
        ([1.5, float("nan")], pa.float64()),
        ([0.5, None], pa.float64()),
        ([None, *range(20), None, None], pa.int32()),
        ([], pa.float64()),
        (ROWS, pa.list_(pa.int32())),
        ([], pa.list_(pa.int32())),
        (MATRICES, pa.list_(pa.list_(pa.float32()))),
        ([], pa.list_(pa.list_(pa.float32()))),
    ],
)
def test_column_is_stored_as_the_one_that_pyarrow_makes(values: Any, type_: pa.DataType) -> None:
    made = column(values, type_)
    made.validate(full=True)
    rows = [list(v) if isinstance(v, np.ndarray) and v.ndim == 2 else v for v in values]
    assert stored(made) == stored(pa.array(rows, type_))
