"""File formats of stored values. Nothing is pickled."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


def write_json(value: Any, file: BinaryIO) -> None:
    """Write indented JSON, for people to read."""
    file.write(json.dumps(value, ensure_ascii=False, indent=2).encode())


def column(values: "Sequence[Any] | NDArray[Any]", type_: "pa.DataType") -> "pa.Array":
    """Do what ``pa.array`` does with texts, numbers or arrays of numbers, but do not import pandas,
    as ``pa.array`` does wherever pandas is installed.
    """
    import numpy as np
    import pyarrow as pa

    if pa.types.is_string(type_):
        encoded = [text.encode() for text in values]
        buffers = [None, _offsets(encoded), pa.py_buffer(b"".join(encoded))]
        return pa.Array.from_buffers(type_, len(values), buffers)
    if pa.types.is_list(type_):
        items = column(np.concatenate(values) if len(values) else [], type_.value_type)
        return pa.Array.from_buffers(type_, len(values), [None, _offsets(values)], children=[items])
    valid = None
    if isinstance(values, list) and None in values:
        known = [value is not None for value in values]
        valid = pa.py_buffer(np.packbits(known, bitorder="little"))
        values = [0 if value is None else value for value in values]
    kind = "f" if pa.types.is_floating(type_) else "i"
    numbers = np.asarray(values, dtype=f"{kind}{type_.bit_width // 8}")
    return pa.Array.from_buffers(type_, len(values), [valid, pa.py_buffer(numbers)])


def write_table(columns: Mapping[str, Any], rest: Mapping[str, Any], file: BinaryIO) -> None:
    """Write Parquet, with the rest as JSON in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(columns).replace_schema_metadata({"trace_clustering": json.dumps(rest)})
    pq.write_table(table, file, write_page_checksum=True)


def read_table(stored: bytes) -> "tuple[pa.Table, dict[str, Any]]":
    """Read what ``write_table`` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        # pq.read_table would import pyarrow.dataset and with it pyarrow.compute
        table = pq.ParquetFile(io.BytesIO(stored), page_checksum_verification=True).read()
    except OSError as error:
        # pyarrow raises it for some damage, which no retry fixes
        raise ValueError(str(error)) from None
    return table, json.loads(table.schema.metadata[b"trace_clustering"])


def write_matrix(matrix: "NDArray[np.float32]", rest: Mapping[str, Any], file: BinaryIO) -> None:
    """Write a ``.npy`` file: the matrix, which ``numpy.load`` reads, then the rest as JSON, then a
    checksum of both, because numpy stores none.

    One file cannot mix different writes. The rest is JSON because numpy's strings lose trailing
    NULs and are all as wide as the longest.
    """
    import numpy as np

    encoded = np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8)
    for array in (matrix, encoded, np.array(_checksum(matrix, encoded))):
        np.save(file, array, allow_pickle=False)


def read_matrix(file: BinaryIO) -> "tuple[NDArray[np.float32], dict[str, Any]]":
    """Read what ``write_matrix`` wrote.

    Raises:
        ValueError: the file is damaged.
    """
    import numpy as np

    matrix, rest, checksum = (np.lib.format.read_array(file) for _ in range(3))
    if checksum != _checksum(matrix, rest):
        raise ValueError("its checksum does not match")
    return matrix, json.loads(rest.tobytes())


def _checksum(matrix: "NDArray[Any]", rest: "NDArray[Any]") -> int:
    import numpy as np

    return zlib.crc32(rest.data, zlib.crc32(np.ascontiguousarray(matrix).data))


def _offsets(values: "Sequence[Any] | NDArray[Any]") -> "pa.Buffer":
    """Where each of the values begins, and where the last one ends."""
    import numpy as np
    import pyarrow as pa

    return pa.py_buffer(np.array([*accumulate(map(len, values), initial=0)], dtype=np.int32))
