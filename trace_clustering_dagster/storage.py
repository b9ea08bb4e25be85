"""Write a file whole or not at all, on a local disk or in an object store."""

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upath import UPath


def write_whole(path: "UPath", data: bytes) -> None:
    """Store ``data`` at ``path``, whose folder exists; readers see the old file or the new one."""
    if path.protocol not in ("", "file"):
        # an object store shows an object when it is complete
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
