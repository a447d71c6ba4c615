"""Who may use a folder may use what meso makes in it, whatever the umask of the user whose run made it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meso_core.storage.files.atomic import link_or_copy, making, move_file, write_file


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Folder in which a group works, and the umask of somebody who shares nothing."""
    tmp_path.chmod(0o2770)
    before = os.umask(0o077)
    yield tmp_path
    os.umask(before)


def by_another_program(path: Path) -> None:
    with making(path) as beside:
        beside.write_bytes(b"1")


def refuse(number: int) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


def copied(path: Path) -> None:
    (path.parent / "source").write_bytes(b"1")
    link_or_copy(path.parent / "source", path)


def moved(path: Path) -> None:
    """From another file system; the rename of the copy itself is one within it."""
    (path.parent / "source").write_bytes(b"1")
    move_file(path.parent / "source", path)


@pytest.mark.parametrize("make", [by_another_program, copied, moved, lambda path: write_file(path, b"1")])
def test_a_new_file_has_the_rights_of_its_folder(
    shared: Path, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def within(source: Path, target: Path) -> None:
        if source.name == "source":
            refuse(errno.EXDEV)()
        real(source, target)

    monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    monkeypatch.setattr(os, "replace", within)
    make(shared / "file")
    assert (shared / "file").read_bytes() == b"1"
    assert stat.S_IMODE((shared / "file").stat().st_mode) == 0o660
