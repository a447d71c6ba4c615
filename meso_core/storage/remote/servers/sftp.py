"""Roots over SFTP: the connection of sshfs, and the calls of asyncssh on it.

What belongs here: :class:`SftpBackend`. What does not: what all kinds of servers share.

asyncssh was chosen after a trial against paramiko: it is as fast, one connection answers many threads, and it reads
``~/.ssh/config`` (jump hosts too), ``known_hosts`` and the agent by itself.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import posixpath
import stat as modes
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any
from uuid import uuid4

from ....session import GONE
from .backend import Seen, Sending
from .sftp_upload import Beside, write_pieces

#: Bytes of one request if a server does not state its limits: every server can answer that much.
_BLOCK = 1 << 15
_REQUESTS = 64
_CONNECT_S, _ALIVE_EVERY_S, _ALIVE_TIMES = 15, 10, 6
_SLOWEST = 50_000
#: Asked for first where the user's ``~/.ssh/config`` names no ciphers: as safe as what asyncssh asks for first
#: (ChaCha20), and quicker on any processor that has AES in hardware: see the rows of SFTP of ``make bench``.
_CIPHERS = "^aes128-gcm@openssh.com"
#: Longest name, in bytes, from which a hidden name can be made.
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class SftpAddress:
    """Where a server is, as a URL names it; a value that is None comes from ``~/.ssh/config``."""

    host: str
    user: str | None = None
    port: int | None = None


class SftpBackend:
    """Files of a server; one connection for all threads."""

    renames = True

    def __init__(self, address: SftpAddress) -> None:
        self._address = address
        self._lock = Lock()
        self._of_parent: list[Any] = []
        self.fs: Any = None
        self._client: Any = None
        self._connect()

    def own(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        if self._pid != os.getpid():
            self._lock = Lock()
            self._of_parent += [self.fs, self._client]  # closing them would end the connection of the parent
            self._connect()

    def _connect(self) -> None:
        from fsspec.asyn import sync
        from sshfs import SSHFileSystem

        known: dict[str, Any] = {"username": self._address.user, "port": self._address.port}
        if password := os.environ.get("MESO_SFTP_PASSWORD"):
            known["password"] = password
        if _leaves_ciphers_open(self._address):
            known["encryption_algs"] = _CIPHERS
        self.fs = SSHFileSystem(
            self._address.host,
            timeout=2 * _CONNECT_S,
            skip_instance_cache=True,
            known_hosts=(),  # the user's own file: sshfs itself would trust any server
            connect_timeout=_CONNECT_S,
            login_timeout=_CONNECT_S,
            keepalive_interval=_ALIVE_EVERY_S,
            keepalive_count_max=_ALIVE_TIMES,
            **{name: value for name, value in known.items() if value is not None},
        )
        start = self.fs.client.start_sftp_client
        self._client = sync(self.fs.loop, start, path_errors="surrogateescape", timeout=2 * _CONNECT_S)
        limits = self._client.limits
        self._read_block, self._write_block = max(_BLOCK, limits.max_read_len), max(_BLOCK, limits.max_write_len)
        self._pid = os.getpid()  # last, so that another thread uses only what is complete

    def renew(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with self._lock:
            if self._is_lost():
                self._connect()

    def _is_lost(self) -> bool:
        from fsspec.asyn import sync

        try:
            sync(self.fs.loop, self._client.stat, ".", timeout=_CONNECT_S)
        except Exception as error:  # noqa: BLE001  only asked whether the connection still works
            return self.passing(error) or isinstance(error, ConnectionError | TimeoutError)
        return False

    def _run(self, work: Awaitable[Any], size: int = 0) -> Any:  # noqa: ANN401  what the work returns
        """Wait for the work; its errors become plain system errors."""
        import asyncssh
        from fsspec.asyn import sync

        async def told() -> Any:  # noqa: ANN401  as above
            return await work

        try:
            return sync(self.fs.loop, told, timeout=2 * _CONNECT_S + size / _SLOWEST)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory) as error:
            raise FileNotFoundError(errno.ENOENT, error.reason) from error
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect) as error:
            raise PermissionError(errno.EACCES, error.reason) from error
        except asyncssh.SFTPFileAlreadyExists as error:
            raise FileExistsError(errno.EEXIST, error.reason) from error
        except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
            raise OSError(errno.ENOSPC, error.reason) from error

    def children(self, place: str) -> Iterable[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return [self._seen(posixpath.join(place, name), attributes) for name, attributes in self._names(place)]

    def _names(self, place: str) -> list[tuple[str, Any]]:
        found = self._run(self._client.readdir(place), size=1 << 26)
        return [(str(one.filename), one.attrs) for one in found if one.filename not in (".", "..")]

    def below(self, place: str) -> Iterator[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; links are followed, not in a circle."""
        with suppress(FileNotFoundError):
            yield from self._walk(place, ())

    def _walk(self, place: str, above: tuple[str, ...]) -> Iterator[Seen]:
        real = self._run(self._client.realpath(place))
        if real in above:
            return
        for seen in self.children(place):
            if not seen.is_folder:
                yield seen
                continue
            with suppress(FileNotFoundError):  # it has just gone
                yield from self._walk(seen.place, (*above, real))

    def _seen(self, place: str, attributes: Any) -> Seen:  # noqa: ANN401  of asyncssh
        if is_link := modes.S_ISLNK(attributes.permissions or 0):
            try:
                attributes = self._run(self._client.stat(place))
            except FileNotFoundError:
                return Seen(place, False, GONE, _mtime(attributes), is_link=True)
        if modes.S_ISDIR(attributes.permissions or 0):
            return Seen(place, True)
        return Seen(place, False, attributes.size or 0, _mtime(attributes), is_link=is_link)

    def stat(self, place: str) -> Seen | None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        try:
            seen = self._seen(place, self._run(self._client.lstat(place)))
        except FileNotFoundError:
            return None
        return None if seen.is_folder or seen.size == GONE else seen

    def read(self, place: str, start: int, length: int) -> bytes:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""

        async def read() -> bytes:
            async with self._client.open(
                place, "rb", encoding=None, block_size=self._read_block, max_requests=_REQUESTS
            ) as file:
                return bytes(await file.read(length, start))

        return bytes(self._run(read(), length))

    def read_ranges(self, place: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; the file is opened once."""

        async def read() -> list[bytes]:
            async with self._client.open(
                place, "rb", encoding=None, block_size=self._read_block, max_requests=_REQUESTS
            ) as file:
                found: list[bytes] = []
                for first in range(0, len(ranges), _REQUESTS):
                    some = ranges[first : first + _REQUESTS]
                    found += await asyncio.gather(*(file.read(length, start) for start, length in some))
                return found

        return [bytes(piece) for piece in self._run(read(), sum(length for _, length in ranges))]

    def write(self, place: str, content: bytes) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        self._make_folder(posixpath.dirname(place))
        beside = _beside(place)

        async def write() -> None:
            async with self._client.open(beside, "wb", encoding=None, block_size=self._write_block) as file:
                await file.write(content)
                await _flush(file)

        try:
            self._run(write(), len(content))
            self._run(self._client.posix_rename(beside, place))
        except BaseException as error:
            why = self._why(error, beside, len(content))
            self._remove_quietly(beside)
            raise why from error

    def send(self, place: str, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        state = sending.state
        if state is None:
            self._make_folder(posixpath.dirname(place))
            state = sending.state = Beside(_beside(place))
        if not state.whole:
            self._send_rest(sending, state)
            state.whole = True
        try:
            self._run(self._client.posix_rename(state.place, place))
        except FileNotFoundError:  # an earlier try succeeded, and its answer was lost
            seen = self.stat(place)
            if seen is None or seen.size != sending.content.size:
                raise
        sending.state = None

    def _send_rest(self, sending: Sending, state: Beside) -> None:
        import asyncssh

        try:
            mode = "rb+" if state.done else "wb"
            out = self._run(self._client.open(state.place, mode, encoding=None, block_size=self._write_block))
            try:
                write_pieces(sending, state, lambda begin, piece: self._run(out.write(piece, begin), len(piece)))
                self._run(_flush(out))
            finally:
                self._run(out.close())
        except (asyncssh.SFTPFailure, asyncssh.SFTPOpUnsupported, FileNotFoundError) as error:
            why = self._why(error, state.place, sending.content.size - state.done)
            if why is not error or not state.resumed:
                raise why from error
            self.give_up(sending)  # this server can only write from front to back
            sending.begin_again()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server has no part of the upload") from None
        except BaseException:
            state.cut(_BLOCK)
            raise
        seen = self.stat(state.place)
        if seen is None or seen.size != sending.content.size:
            self.give_up(sending)
            sending.begin_again()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server has lost a part of the upload")

    def _why(self, error: BaseException, place: str, size: int) -> BaseException:
        """Return why so many bytes could not be written: many servers call a full disk a failure as any other."""
        if type(error).__name__ == "SFTPFailure":
            with suppress(Exception):  # this server does not tell of its disk
                disk = self._run(self._client.statvfs(posixpath.dirname(place)))
                if disk.bavail * disk.frsize < size:
                    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return error

    def give_up(self, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        if sending.state is not None:
            self._remove_quietly(sending.state.place)

    def _remove_quietly(self, place: str) -> None:
        with suppress(Exception):  # the server may be away; the error that led here is the one to report
            self.remove([place])

    def give_up_left(self, place: str, before_ns: int) -> int:  # noqa: ARG002  all is listed
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return 0

    def put_in_place(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        self._make_folder(posixpath.dirname(target))
        self._run(self._client.posix_rename(source, target))

    def second_name(self, source: str, target: str) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; a hard link, by an extension of SFTP."""
        import asyncssh

        self._make_folder(posixpath.dirname(target))
        self.remove([target])
        try:
            self._run(self._client.link(source, target))
        except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure):  # the server, or its disk, knows no links
            return False
        return True

    def move_new(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; SFTP's plain rename never overwrites."""
        self._make_folder(posixpath.dirname(target))
        # some servers do overwrite: then this look is what there is
        if self._is_anything(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        self._run(self._client.rename(source, target))

    def _is_anything(self, place: str) -> bool:
        try:
            self._run(self._client.lstat(place))
        except FileNotFoundError:
            return False
        return True

    def copy_new(self, source: Seen, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        raise NotImplementedError

    def remove_as_seen(self, seen: Seen) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        if self.stat(seen.place) != seen:
            return False
        self.remove([seen.place])
        return True

    def may_lose(self, folder: str) -> str:  # noqa: ARG002  a rename moves the file itself
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return ""

    def set_time(self, place: str, mtime_ns: int) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        seconds = mtime_ns // 1_000_000_000
        self._run(self._client.utime(place, (seconds, seconds)))
        return True

    def _make_folder(self, folder: str) -> None:
        self._run(self._client.makedirs(folder, exist_ok=True))

    def remove(self, places: Iterable[str]) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        for place in places:
            with suppress(FileNotFoundError):
                self._run(self._client.remove(place))

    def passing(self, error: BaseException) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        import asyncssh

        if isinstance(error, asyncssh.PermissionDenied | asyncssh.HostKeyNotVerifiable):
            return False
        lost = (asyncssh.DisconnectError, asyncssh.ChannelOpenError, asyncssh.SFTPConnectionLost)
        return isinstance(error, (*lost, asyncssh.SFTPNoConnection))


def _leaves_ciphers_open(address: SftpAddress) -> bool:
    """Whether the user's ``~/.ssh/config`` names no ciphers for a server."""
    from asyncssh import SSHClientConnectionOptions

    given: dict[str, Any] = {"host": address.host}
    if address.port:
        given["port"] = address.port
    if address.user:
        given["username"] = address.user
    asked = SSHClientConnectionOptions(config=(), **given)
    usual = SSHClientConnectionOptions(config=None, **given)
    return bool(asked.encryption_algs == usual.encryption_algs)


async def _flush(file: Any) -> None:  # noqa: ANN401  of asyncssh
    """Flush a file to the server's disk, if the server can."""
    import asyncssh

    with suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


def _beside(place: str) -> str:
    """Name under which a file is being made: hidden, in the same folder, of this call alone."""
    folder, name = posixpath.split(place)
    short = name if len(os.fsencode(name)) <= _LONGEST else hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return posixpath.join(folder, f".{short}.{uuid4().hex[:12]}.part")


def _mtime(attributes: Any) -> int:  # noqa: ANN401  of asyncssh
    return int(attributes.mtime or 0) * 1_000_000_000 + int(attributes.mtime_ns or 0)
