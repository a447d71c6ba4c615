"""Moving an object on S3 so that nothing is overwritten, and nothing but what was seen is removed.

What belongs here: conditional requests, and whether a server honours them. S3 knows no rename: an object is copied, and
then the first is removed. Between the two somebody may write; a request with a condition is refused then.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from .backend import Seen

Call = Callable[..., Any]

#: Largest object that one request copies, and the parts of a larger one, bytes: a server is silent while it copies.
COPIED_AT_ONCE, COPIED_PART = 1 << 28, 1 << 28
#: What a server answers where a condition does not hold.
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
#: What one answers that does not know the condition.
_UNKNOWN = ("NotImplemented", "501")
_NOTHING = "0" * 32


def copy_new(call: Call, source: Seen, target: str) -> None:
    """Copy an object as it was seen to where nothing is.

    Raises
    ------
    FileExistsError
        If there is something already.
    FileNotFoundError
        If the object is another one by now.
    """
    try:
        (_copy_parts if source.size > COPIED_AT_ONCE else _copy_at_once)(call, source, target)
    except Exception as error:
        if not _is_refusal(error):
            raise
        if _version(call, source.place) != source.version:
            raise FileNotFoundError(errno.ENOENT, "it is another object by now", source.place) from error
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error


def _copy_at_once(call: Call, source: Seen, target: str) -> None:
    call("copy_object", **key_of(target), **_as_seen(source), IfNoneMatch="*")


def _copy_parts(call: Call, source: Seen, target: str) -> None:
    upload = {**key_of(target), "UploadId": call("create_multipart_upload", **key_of(target))["UploadId"]}
    try:
        parts = []
        for number, start in enumerate(range(0, source.size, COPIED_PART), 1):
            some = {"PartNumber": number, "CopySourceRange": _range(start, min(start + COPIED_PART, source.size))}
            made = call("upload_part_copy", **upload, **_as_seen(source), **some)
            parts.append({"PartNumber": number, "ETag": made["CopyPartResult"]["ETag"]})
        call("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException:
        with suppress(Exception):  # the next publication gives up what is left
            call("abort_multipart_upload", **upload)
        raise


def key_of(place: str) -> dict[str, str]:
    """Name an object as a call does."""
    bucket, _, key = place.partition("/")
    return {"Bucket": bucket, "Key": key}


def _as_seen(source: Seen) -> dict[str, Any]:
    return {"CopySource": key_of(source.place), "CopySourceIfMatch": f'"{source.version}"'}


def _range(start: int, end: int) -> str:
    return f"bytes={start}-{end - 1}"


def remove_as_seen(call: Call, seen: Seen) -> bool:
    """Remove an object if it is the one that was seen; tell whether it was."""
    if _version(call, seen.place) != seen.version:
        return False
    try:
        call("delete_object", **key_of(seen.place), IfMatch=f'"{seen.version}"')
    except Exception as error:
        if not _is_refusal(error):
            raise
        return False
    return True


def may_lose(call: Call, folder: str) -> str:
    """Say why moving an object could lose what somebody else writes; empty if it cannot.

    The server must refuse to copy over an object, and to remove another one than is named. It is tried.
    """
    one, two = (f"{folder}/{uuid4().hex}.probe" for _ in range(2))
    try:
        for place in (one, two):
            call("put_object", **key_of(place), Body=place.encode())
        seen, other = (Seen(place, False, len(place.encode()), 0, _version(call, place)) for place in (one, two))
        copies = (lambda: _copy_at_once(call, seen, two), lambda: _copy_parts(call, seen, two))
        if all(_is_refused(copy, OSError) for copy in copies) and _version(call, two) == other.version:
            as_other = {**key_of(one), "IfMatch": f'"{_NOTHING}"'}
            if _is_refused(lambda: call("delete_object", **as_other), OSError) and _version(call, one) == seen.version:
                return ""
    finally:
        with suppress(Exception):  # what led here is the error to report; such files are small
            for place in (one, two):
                call("delete_object", **key_of(place))
    return "this server copies over an object and removes one whatever a condition says (If-None-Match, If-Match)"


def _is_refused(ask: Callable[[], object], error: type[Exception]) -> bool:
    try:
        ask()
    except error as found:
        if _is_refusal(found):
            return True
        if code_of(found) in _UNKNOWN:
            return False
        raise
    return False


def _version(call: Call, place: str) -> str:
    """Name of the content of an object; empty where there is none."""
    try:
        return str(call("head_object", **key_of(place))["ETag"]).strip('"')
    except FileNotFoundError:
        return ""


def _is_refusal(error: Exception) -> bool:
    return code_of(error) in _REFUSED


def answer_of(error: BaseException) -> dict[str, Any]:
    """Return what the server has answered, where it has: s3fs keeps it as the cause."""
    from botocore.exceptions import ClientError

    for one in (error, error.__cause__):
        if isinstance(one, ClientError):
            return dict(one.response)
    return {}


def code_of(error: BaseException) -> str:
    """Return what the server calls an error; empty where it does not tell."""
    return str(answer_of(error).get("Error", {}).get("Code", ""))
