"""Roots on S3, of AWS or compatible: s3fs, whose calls are those of the service.

What belongs here: :class:`S3Backend`. What does not: what all kinds of servers share.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any

from .backend import Seen, Sending, nanoseconds

#: Parts of an upload: their least size, bytes, how many there may be, and how many are on their way at a time.
_PART, _PARTS, _AT_A_TIME = 1 << 24, 9_000, 4
#: Most objects that one call removes.
_REMOVED_AT_ONCE = 1000
#: Seconds until a connection stands, and until a server that has fallen silent is given up.
_CONNECT_S, _SILENCE_S = 10, 60
#: The slowest upload that is waited for, bytes per second.
_SLOWEST = 50_000


class S3Backend:
    """Objects of a bucket. Credentials, region and endpoint come from the environment or the files of AWS."""

    def __init__(self) -> None:
        from s3fs import S3FileSystem

        config: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "read_timeout": _SILENCE_S,
            "retries": {"total_max_attempts": 1},  # :mod:`calls` repeats
            "max_pool_connections": 64,
        }
        if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            config["s3"] = {"addressing_style": "path"}  # few servers beside AWS have a name for each bucket
        self.fs: Any = S3FileSystem(
            anon=False, skip_instance_cache=True, use_listings_cache=False, config_kwargs=config
        )
        self.fs.retries = 1

    def children(self, place: str) -> Iterable[Seen]:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        found = list(self._pages(place, Delimiter="/"))
        if not found and "/" in place:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)
        return found

    def below(self, place: str) -> Iterator[Seen]:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
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
                if not entry["Key"].endswith("/"):  # what some programs leave in place of a folder
                    yield _seen(f"{bucket}/{entry['Key']}", entry["Size"], entry)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def stat(self, place: str) -> Seen | None:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        bucket, _, key = place.partition("/")
        try:
            found = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        return _seen(place, found["ContentLength"], found)

    def read(self, place: str, start: int, length: int) -> bytes:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        try:
            return bytes(self.fs.cat_file(place, start=start, end=start + length))
        except OSError as error:
            if "InvalidRange" in f"{error}" or "not satisfiable" in f"{error}":  # behind the end: nothing
                return b""
            raise

    def write(self, place: str, content: bytes, *, if_absent: bool) -> bool:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        bucket, _, key = place.partition("/")
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=content, **condition)
        except FileExistsError:
            return False
        except OSError as error:
            if if_absent and "PreconditionFailed" in f"{error}{error.__cause__}":
                return False
            raise
        return True

    def send(self, place: str, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        if sending.size <= _PART:
            self.write(place, sending.piece(0, sending.size), if_absent=False)
            return
        bucket, _, key = place.partition("/")
        length = max(_PART, -(-sending.size // _PARTS))
        where = {"Bucket": bucket, "Key": key}
        where["UploadId"] = self.fs.call_s3("create_multipart_upload", **where)["UploadId"]
        try:
            parts = self._send_parts(sending, length, where)
            self.fs.call_s3("complete_multipart_upload", **where, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(Exception):  # the first error is the one to tell
                self.fs.call_s3("abort_multipart_upload", **where)
            raise

    def _send_parts(self, sending: Sending, length: int, where: dict[str, str]) -> list[dict[str, Any]]:
        """Upload the parts of a file, some at a time; each is read, and so hashed, in their order."""
        parts: list[dict[str, Any]] = []
        going: deque[tuple[int, Future[Any]]] = deque()

        def finish() -> None:
            number, future = going.popleft()
            parts.append({"PartNumber": number, "ETag": future.result()["ETag"]})

        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            for number, start in zip(count(1), range(0, sending.size, length), strict=False):
                body = sending.piece(start, length)
                going.append((number, pool.submit(self._send_part, where, number, body)))
                if len(going) >= _AT_A_TIME:
                    finish()
            while going:
                finish()
        return parts

    def _send_part(self, where: dict[str, str], number: int, body: bytes) -> Any:  # noqa: ANN401  of the library
        from fsspec.asyn import sync

        timeout = _SILENCE_S + len(body) / _SLOWEST
        return sync(
            self.fs.loop, self.fs._call_s3, "upload_part", **where, PartNumber=number, Body=body, timeout=timeout
        )

    def copy(self, source: str, target: str, size: int) -> None:  # noqa: ARG002  others need it
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        self.fs.cp_file(source, target)

    def move(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        self.copy(source, target, 0)
        self.remove([source])

    def remove(self, places: Iterable[str]) -> None:
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
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
        """See :class:`~meso_core.storage.remote.backend.Backend`."""
        from aiohttp import ClientError as HttpError
        from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

        if isinstance(error, HTTPClientError | HttpError | IncompleteReadError):
            return True
        cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
        if isinstance(cause, ClientError):
            status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return bool(status >= 500 or status == 429) or cause.response.get("Error", {}).get("Code") == "SlowDown"
        return False

    def renew(self) -> None:
        """See :class:`~meso_core.storage.remote.backend.Backend`; each call has a connection of its own."""


def _seen(place: str, size: int, answer: dict[str, Any]) -> Seen:
    return Seen(place, False, size, nanoseconds(answer["LastModified"]), answer.get("ETag", "").strip('"'))
