"""What is on a disk after the power went: a model of a file system that keeps only what was flushed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: Path below the folder → inode, content and time, or None for a folder.
Tree = dict[str, tuple[int, bytes, int] | None]

#: Events of Python's audit hooks that change a file system.
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.mkdir", "os.truncate", "os.utime", "open")


def changes_the_disk(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether an event of an audit hook is a step that changes a file system."""
    if event == "open":
        flags = arguments[2] if len(arguments) > 2 else 0
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in CHANGES


@dataclass
class Disk:
    """A folder, and what of it has reached the disk.

    An inode has the content that it had when it was flushed last, and a folder the names. The file systems of Linux
    keep more than that; nothing may rest on it.
    """

    root: Path
    contents: dict[int, tuple[int, bytes, int]] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    #: All states that a loss of power could have left, without repetitions.
    states: list[Tree] = field(default_factory=list)
    _pins: dict[int, int] = field(default_factory=dict)

    def flushed(self, descriptor: int) -> None:
        """Note that a file or folder was flushed."""
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(descriptor) as entries:
                self.names[status.st_ino] = {e.name: e.inode() for e in entries if self._pin(descriptor, e.name)}
        else:
            path = f"/proc/self/fd/{descriptor}"
            self.contents[status.st_ino] = (status.st_ino, Path(path).read_bytes(), status.st_mtime_ns)

    def _pin(self, folder: int, name: str) -> bool:
        """Keep an inode open, so that its number is not given to another file."""
        pin = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        if self._pins.setdefault(os.fstat(pin).st_ino, pin) != pin:
            os.close(pin)
        return True

    def flush_all(self) -> None:
        """Take everything for flushed, as it is before the first step."""
        for folder, _, files in os.walk(self.root):
            for path in (folder, *(f"{folder}/{name}" for name in files)):
                descriptor = os.open(path, os.O_RDONLY)
                self.flushed(descriptor)
                os.close(descriptor)

    def note(self) -> None:
        """Note what a loss of power would leave now: nothing unflushed, or all names but no unflushed content."""
        left: Tree = {}
        self._walk(self.root.stat().st_ino, "", left)
        all_names: Tree = {}
        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            status = path.lstat()
            empty = (status.st_ino, b"", status.st_mtime_ns)
            all_names[key] = None if path.is_dir() else self.contents.get(status.st_ino, empty)
        self.states += [tree for tree in (left, all_names) if tree not in self.states]

    def _walk(self, folder: int, below: str, into: Tree) -> None:
        for name, inode in self.names.get(folder, {}).items():
            path = f"{below}{name}"
            if stat.S_ISDIR(os.fstat(self._pins[inode]).st_mode):
                into[path] = None
                self._walk(inode, f"{path}/", into)
            else:
                into[path] = self.contents.get(inode, (inode, b"", 0))

    def close(self) -> None:
        """Let go of the inodes."""
        for pin in self._pins.values():
            os.close(pin)


def write_tree(tree: Tree, folder: Path) -> Path:
    """Make a folder as a loss of power left it."""
    folder.mkdir(parents=True)
    made: dict[int, Path] = {}
    for path, found in sorted(tree.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if found is None:
            place.mkdir(exist_ok=True)
            continue
        inode, content, mtime_ns = found
        if inode in made:
            os.link(made[inode], place)
        else:
            made[inode] = place
            place.write_bytes(content)
            os.utime(place, ns=(mtime_ns, mtime_ns))
    return folder


_watching: list[Callable[[], None]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and changes_the_disk(event, arguments):
        watch = _watching.pop()  # what it opens itself is no step
        watch()
        _watching.append(watch)


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[Disk]:
    """Note at each step of the block what a loss of power would leave of a folder."""
    disk, fsync = Disk(folder), os.fsync
    disk.flush_all()
    disk.note()

    def flush(descriptor: int) -> None:
        watch = _watching.pop()
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        disk.flushed(number)
        disk.note()
        _watching.append(watch)

    os.fsync = flush  # type: ignore[assignment]
    _watching.append(disk.note)
    try:
        yield disk
        disk.note()
    finally:
        _watching.clear()
        os.fsync = fsync
        disk.close()
