"""Files beside the tables, where the tables' own lie: a bucket, a folder."""

from __future__ import annotations

from typing import cast

from pyarrow.fs import FileSelector, FileType  # type: ignore[import-untyped]
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO


def list_objects(io: FileIO, prefix: str) -> list[str]:
    """The URIs of all files below `prefix`, ascending; none where it is not there. PyIceberg itself lists nothing."""
    scheme, address, path = PyArrowFileIO.parse_location(prefix)
    filesystem = cast(PyArrowFileIO, io).fs_by_scheme(scheme, address)
    selector = FileSelector(path, allow_not_found=True, recursive=True)
    root = prefix.rstrip("/")
    start = len(path.rstrip("/"))
    files = (info.path for info in filesystem.get_file_info(selector) if info.type == FileType.File)
    return sorted(f"{root}{file[start:]}" for file in files)


def delete_file(io: FileIO, uri: str) -> None:
    """Delete a file, where it is there."""
    try:
        io.delete(uri)
    except FileNotFoundError:
        return
