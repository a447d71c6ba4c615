"""Roots by their URL, and what lies below them.

What belongs here: :func:`open_root`, listings. What does not: moving bytes (``transfer``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TypeVar

from ....errors import SettingsError
from ....session import ListedFile
from ...urls import SECRET_REMEDY, may_hold_a_secret, shown
from .backend import Backend, Seen
from .calls import Caller, Patience, without_secrets
from .memory import MemoryBackend
from .s3 import S3Backend
from .sftp import SftpAddress, SftpBackend

T = TypeVar("T")

_SCHEMES = "s3://bucket/prefix or sftp://[user@]host[:port]/path"


@dataclass(frozen=True, slots=True)
class RemoteRoot:
    """A root on a server."""

    #: As a person wrote it; never with a secret.
    url: str
    #: Path of the root as the server knows it, without a slash at its end.
    base: str
    #: Calls the server.
    call: Caller = field(compare=False, repr=False)

    @property
    def backend(self) -> Backend:
        """The server."""
        return self.call.backend

    def place(self, path: str) -> str:
        """Return a path below the root as the server knows it."""
        return f"{self.base}/{path}" if path else self.base or "/"

    def path(self, place: str) -> str:
        """Return the path below the root of a file that the server names."""
        return place[len(self.base) :].lstrip("/") if self.base else place.lstrip("/")


def open_root(url: str, *, patience: Patience | None = None) -> RemoteRoot:
    """Open a root on a server, and check that it answers.

    Credentials come from the environment or the usual files of each service: ``AWS_*`` and ``~/.aws`` for S3; the SSH
    agent, ``~/.ssh`` and ``MESO_SFTP_PASSWORD`` for SFTP.

    Parameters
    ----------
    url
        ``s3://bucket/prefix``, ``sftp://[user@]host[:port]/path`` or ``memory://name/prefix``, with the characters of
        names as they are, not in percent signs.
    patience
        How long later calls are repeated that fail in passing.

    Raises
    ------
    SettingsError
        If the scheme is unknown, a package is not installed, there are no credentials or they are refused, there is no
        such bucket or folder, or the server does not answer.
    """
    scheme, where = parse_url(url)
    return _MAKERS[scheme](f"{scheme}://{where}", where, patience or Patience())


def parse_url(url: str) -> tuple[str, str]:
    """Split the URL of a root, without asking a server.

    Returns
    -------
    scheme, where : str
        Without a slash at its end.

    Raises
    ------
    SettingsError
        If the scheme is unknown, bucket or host are missing, or there may be a password or a key in it.
    """
    if may_hold_a_secret(url):
        raise _bad(url, "a URL without a password or key", "what may be one", SECRET_REMEDY)
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _MAKERS:
        raise _bad(url, "a root on a server", f"the scheme '{scheme}'", f"Write {_SCHEMES}, or the path of a folder")
    where = rest.rstrip("/")
    if not where.partition("/")[0]:
        raise _bad(url, _SCHEMES, "no bucket or host", "Write the whole URL")
    return scheme, where


def list_below(root: RemoteRoot, below: str = "") -> tuple[ListedFile, ...]:
    """List all files below a folder of the root, at any depth.

    Returns
    -------
    tuple of ListedFile
        Sorted by path, which is relative to ``below``; none where there is no such folder.

    Raises
    ------
    StorageError
        If the server does not answer whole: a listing that failed is never an empty one.
    """
    start = len(root.place(below).rstrip("/")) + 1
    found = root.call("list", below, lambda server: list(server.below(root.place(below))))
    files = (
        ListedFile(seen.place[start:], seen.size, seen.mtime_ns, seen.is_link) for seen in found if not seen.is_folder
    )
    return tuple(sorted(files, key=lambda file: file.path))


def children(root: RemoteRoot, below: str = "") -> tuple[tuple[str, bool], ...]:
    """List one level: name, and whether it is a folder; sorted.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    StorageError
        As :func:`list_below`.
    """
    found: Iterable[Seen] = root.call("list", below, lambda server: list(server.children(root.place(below))))
    return tuple(sorted((seen.place.rpartition("/")[2], seen.is_folder) for seen in found))


def _memory(url: str, where: str, patience: Patience) -> RemoteRoot:
    server = MemoryBackend()
    server.fs.makedirs(f"/{where}", exist_ok=True)
    return RemoteRoot(url, f"/{where}", Caller(url, server, patience))


def _s3(url: str, where: str, patience: Patience) -> RemoteRoot:
    _installed(url, "s3fs", "s3")
    server = S3Backend()
    bucket = where.partition("/")[0]
    _answers(url, lambda: server.fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1))
    return RemoteRoot(url, where, Caller(url, server, patience))


def _sftp(url: str, where: str, patience: Patience) -> RemoteRoot:
    _installed(url, "sshfs", "sftp")
    address, _, path = where.partition("/")
    user, _, host = address.rpartition("@")
    name, colon, port = host.rpartition(":")
    if colon and not port.isdecimal():
        raise _bad(url, "a port that is a number", port, "Write sftp://[user@]host[:port]/path")
    at = SftpAddress(name if colon else host, user or None, int(port) if colon else None)
    server = _answers(url, lambda: SftpBackend(at))
    base = f"/{path}".rstrip("/")
    _answers(url, lambda: server.children(base or "/"))
    return RemoteRoot(url, base, Caller(url, server, patience))


def _installed(url: str, package: str, extra: str) -> None:
    if find_spec(package) is None:
        expected, found = f"the package {package}, which this scheme needs", "it is not installed"
        raise _bad(url, expected, found, f"Install it: pip install 'meso[{extra}]'")


def _answers(url: str, look: Callable[[], T]) -> T:
    """Look once, or say what is wrong with the settings."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001  each library has its own errors; all are reported
        name = type(error).__name__
        if isinstance(error, FileNotFoundError):
            remedy = "Make the bucket or folder, or correct MESO_ROOT"
            raise _bad(url, "a bucket or folder on the server", without_secrets(error), remedy) from None
        if "Credentials" in name:
            remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials"
            raise _bad(url, "credentials", without_secrets(error), remedy) from None
        if name == "HostKeyNotVerifiable":
            remedy = (
                "Connect to it once with `ssh`, as the user who runs meso, compare its key, and accept it: then it is "
                "in ~/.ssh/known_hosts. If it is there and another one now, ask who looks after the server"
            )
            raise _bad(url, "a server whose key is known", without_secrets(error), remedy) from None
        if isinstance(error, PermissionError) or name == "PermissionDenied":
            where = "MESO_SFTP_PASSWORD, ~/.ssh" if url.startswith("sftp:") else "AWS_*, ~/.aws"
            remedy = f"Check the credentials ({where}) and the rights on the server"
            raise _bad(url, "to be let in", without_secrets(error), remedy) from None
        remedy = "Check the URL, AWS_ENDPOINT_URL for S3, the network and the server"
        raise _bad(url, "a server that answers", without_secrets(error), remedy) from None


#: Kinds of roots; one in memory dies with its process.
_MAKERS: dict[str, Callable[[str, str, Patience], RemoteRoot]] = {"s3": _s3, "sftp": _sftp, "memory": _memory}


def _bad(url: str, expected: str, found: str, remedy: str) -> SettingsError:
    return SettingsError.at(shown(url), field="MESO_ROOT", expected=expected, found=found, remedy=remedy)
