"""Roots on S3, of AWS or compatible: s3fs, whose calls are those of the service.

What belongs here: :class:`S3Backend`. What does not: what all kinds of servers share.
"""

from __future__ import annotations

import errno
import hashlib
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .backend import Seen, Sending, nanoseconds
from .s3_moves import answer_of, code_of, copy_new, key_of, may_lose, remove_as_seen
from .side_by_side import in_order

#: Parts of an upload: their least size, bytes, how many there may be, and how many are on their way at a time.
_PART, _PARTS, _AT_A_TIME = 1 << 24, 9_000, 4
#: Ranges of a file that are asked for at a time.
_RANGES_AT_A_TIME = 32
#: Most objects that one call removes.
_REMOVED_AT_ONCE = 1000
#: Seconds until a connection stands, and until a server that has fallen silent is given up.
_CONNECT_S, _SILENCE_S = 10, 60
#: The slowest upload that is waited for, bytes per second.
_SLOWEST = 50_000


class S3Backend:
    """Objects of a bucket. Credentials, region and endpoint come from the environment or the files of AWS."""

    renames = False

    def __init__(self) -> None:
        self._of_parent: list[Any] = []
        self.fs: Any = None
        self._connect()

    def own(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        if self._pid != os.getpid():
            self._of_parent.append(self.fs)  # closing it would need an event loop that does not run here
            self._connect()

    def _connect(self) -> None:
        from s3fs import S3FileSystem

        config: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _SILENCE_S,
            "retries": {"total_max_attempts": 1},  # :mod:`calls` repeats
            "max_pool_connections": 64,
        }
        if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            config["s3"] = {"addressing_style": "path"}  # few servers except AWS have a host name for each bucket
        self.fs = S3FileSystem(anon=False, skip_instance_cache=True, use_listings_cache=False, config_kwargs=config)
        self.fs.retries = 1
        self._pid = os.getpid()  # last, so that another thread uses only what is complete

    def children(self, place: str) -> Iterable[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        found = list(self._pages(place, Delimiter="/"))
        if not found and "/" in place:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        return found

    def below(self, place: str) -> Iterator[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        yield from self._pages(place)

    def _pages(self, place: str, **how: str) -> Iterator[Seen]:
        bucket, _, key = place.partition("/")
        prefix = f"{key}/" if key else ""
        more: dict[str, str] = {}
        while True:
            page = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **how, **more)
            for folder in page.get("CommonPrefixes", ()):
                yield Seen(f"{bucket}/{folder['Prefix'].rstrip('/')}", True)
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # some programs create such objects for folders
                    yield _seen(f"{bucket}/{entry['Key']}", entry["Size"], entry)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def stat(self, place: str) -> Seen | None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        try:
            found = self.fs.call_s3("head_object", **key_of(place))
        except FileNotFoundError:
            return None
        return _seen(place, found["ContentLength"], found)

    def read(self, place: str, start: int, length: int) -> bytes:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        try:
            return bytes(self.fs.cat_file(place, start=start, end=start + length))
        except OSError as error:
            if code_of(error) == "InvalidRange":  # the range begins behind the end
                return b""
            raise

    def read_ranges(self, place: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        starts, ends = [start for start, _ in ranges], [start + length for start, length in ranges]
        at_a_time = {"batch_size": _RANGES_AT_A_TIME, "on_error": "return"}
        found = self.fs.cat_ranges([place] * len(ranges), starts, ends, **at_a_time)
        for piece in found:
            if isinstance(piece, BaseException) and code_of(piece) != "InvalidRange":
                raise piece
        return [b"" if isinstance(piece, BaseException) else bytes(piece) for piece in found]

    def write(self, place: str, content: bytes) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        self._put(place, content)

    def _put(self, place: str, body: bytes, **how: str) -> None:
        self.fs.call_s3("put_object", **key_of(place), Body=body, **how)

    def send(self, place: str, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        content = sending.content
        if content.size <= _PART:
            body = sending.piece(0, content.size)
            md5 = b64encode(bytes.fromhex(content.md5)).decode()  # the server refuses other bytes
            self._put(place, body, ContentMD5=md5)
            sending.confirm(content.size)
            return
        state = sending.state
        if state is None:
            where = key_of(place)
            upload = self.fs.call_s3("create_multipart_upload", **where)["UploadId"]
            state = sending.state = _Parts({**where, "UploadId": upload})
        self._send_parts(sending, state)
        self._complete(place, sending, state)

    def _send_parts(self, sending: Sending, state: _Parts) -> None:
        """Upload the parts that the server does not have, some at a time; each is read in order."""
        size = sending.content.size
        length = max(_PART, -(-size // _PARTS))

        def send(number: int, body: bytes) -> None:
            state.etags[number] = self._send_part(state.where, number, body)
            sending.confirm(len(body))

        starts = enumerate(range(0, size, length), start=1)
        sends = (partial(send, n, sending.piece(start, length)) for n, start in starts if n not in state.etags)
        for _ in in_order(sends, _AT_A_TIME):
            pass

    def _send_part(self, where: dict[str, str], number: int, body: bytes) -> str:
        from fsspec.asyn import sync

        timeout = _SILENCE_S + len(body) / _SLOWEST
        call = {**where, "PartNumber": number, "Body": body}
        return str(sync(self.fs.loop, self.fs._call_s3, "upload_part", **call, timeout=timeout)["ETag"])

    def _complete(self, place: str, sending: Sending, state: _Parts) -> None:
        """Put the parts together; if that was done before and the answer was lost, the object shows it."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(state.etags.items())]
        try:
            self.fs.call_s3("complete_multipart_upload", **state.where, MultipartUpload={"Parts": parts})
        except FileNotFoundError:  # no such upload
            seen = self.stat(place)
            if seen is not None and (seen.size, seen.version) == (sending.content.size, state.etag):
                return
            sending.begin_again()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server has forgotten the upload") from None

    def give_up(self, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        if sending.state is not None:
            with suppress(Exception):  # the server may be away; the error that led here is the one to report
                self.fs.call_s3("abort_multipart_upload", **sending.state.where)

    def give_up_left(self, place: str, before_ns: int) -> int:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`.

        Where the server cannot do this, or does not let this user, a rule of the bucket may.
        """
        given_up = 0
        try:
            for upload in self._uploads(place):
                if nanoseconds(upload["Initiated"]) < before_ns:
                    which = {"Bucket": place.partition("/")[0], "Key": upload["Key"], "UploadId": upload["UploadId"]}
                    with suppress(FileNotFoundError):  # somebody else has just done it
                        self.fs.call_s3("abort_multipart_upload", **which)
                        given_up += 1
        except OSError as error:
            if not isinstance(error, PermissionError) and error.errno != errno.ENOSYS:
                raise
        return given_up

    def _uploads(self, place: str) -> Iterator[dict[str, Any]]:
        """List uploads in parts, to below a folder, that have not ended."""
        bucket, _, key = place.partition("/")
        more: dict[str, str] = {}
        while True:
            page = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/", **more)
            yield from page.get("Uploads", ())
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def put_in_place(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; S3 knows no rename, and the server copies."""
        self.fs.cp_file(source, target)

    def second_name(self, source: str, target: str) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; here a copy."""
        self.fs.cp_file(source, target)
        return True

    def move_new(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        raise NotImplementedError

    def copy_new(self, source: Seen, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        copy_new(self.fs.call_s3, source, target)

    def remove_as_seen(self, seen: Seen) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return remove_as_seen(self.fs.call_s3, seen)

    def may_lose(self, folder: str) -> str:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return may_lose(self.fs.call_s3, folder)

    def set_time(self, place: str, mtime_ns: int) -> bool:  # noqa: ARG002  the server tells when it has got an object
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return False

    def remove(self, places: Iterable[str]) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        all_places = list(places)
        for start in range(0, len(all_places), _REMOVED_AT_ONCE):
            some = all_places[start : start + _REMOVED_AT_ONCE]
            keys = [{"Key": place.partition("/")[2]} for place in some]
            answer = self.fs.call_s3(
                "delete_objects", Bucket=some[0].partition("/")[0], Delete={"Objects": keys, "Quiet": True}
            )
            if errors := answer.get("Errors"):
                first = errors[0]
                refused = first.get("Code") in ("AccessDenied", "AllAccessDisabled")
                kind = PermissionError if refused else OSError
                raise kind(errno.EACCES if refused else errno.EIO, f"{first.get('Key')}: {first.get('Message')}")

    def passing(self, error: BaseException) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import ConnectionError as NoConnection
        from botocore.exceptions import HTTPClientError, IncompleteReadError
        from botocore.parsers import ResponseParserError

        if isinstance(error, NoConnection | HTTPClientError | HttpError | IncompleteReadError | ResponseParserError):
            return True
        status = answer_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or code_of(error) in ("SlowDown", "RequestTimeout", "BadDigest")

    def renew(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`; each call has a connection of its own."""


@dataclass(slots=True)
class _Parts:
    """An upload in parts."""

    where: dict[str, str]
    #: Number of the part → what the server calls it.
    etags: dict[int, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """What the server calls the whole: the hash of the parts' hashes, and how many there are."""
        try:
            parts = b"".join(bytes.fromhex(etag.strip('"')) for _, etag in sorted(self.etags.items()))
        except ValueError:  # this server calls its parts something else
            return ""
        return f"{hashlib.md5(parts, usedforsecurity=False).hexdigest()}-{len(self.etags)}"


def _seen(place: str, size: int, answer: dict[str, Any]) -> Seen:
    # some servers give milliseconds in a listing, but whole seconds for a single object: the times must be equal
    changed = nanoseconds(answer["LastModified"].replace(microsecond=0))
    return Seen(place, False, size, changed, answer.get("ETag", "").strip('"'))
