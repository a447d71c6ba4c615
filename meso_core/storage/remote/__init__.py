"""Roots on servers: what lies there, and bytes that go there and come back whole.

What belongs here: names, bytes, hashes and the troubles of a network. What does not: what a session is.
"""

from .mirrors.scratch import Scratch
from .servers.filesystem import RemoteRoot, children, list_below, open_root
from .transfers.transfer import (
    Wanted,
    download,
    download_all,
    put_in_place,
    read_range,
    read_small,
    remove,
    stat,
    upload,
    upload_all,
    write_small,
)

__all__ = [
    "RemoteRoot",
    "Scratch",
    "Wanted",
    "children",
    "download",
    "download_all",
    "list_below",
    "open_root",
    "put_in_place",
    "read_range",
    "read_small",
    "remove",
    "stat",
    "upload",
    "upload_all",
    "write_small",
]
