"""What S3 servers say, each in its own way, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from s3fs.errors import ERROR_CODE_TO_EXCEPTION

from meso_core.storage.remote.servers.s3 import S3Backend

KEY = "prefix/file"


class TellsMilliseconds:
    """Answers as MinIO and Ceph do: milliseconds in a listing, whole seconds of a single object."""

    changed = datetime(2026, 3, 3, 12, 0, 1, 987_000, tzinfo=UTC)

    def call_s3(self, call: str, **_: Any) -> dict[str, Any]:
        answer = {"ETag": '"abc"'}
        if call == "list_objects_v2":
            return {"Contents": [{**answer, "Key": KEY, "Size": 5, "LastModified": self.changed}]}
        return {**answer, "ContentLength": 5, "LastModified": self.changed.replace(microsecond=0)}


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.setattr(S3Backend, "_connect", lambda self: None)
    made = S3Backend()
    made.fs = TellsMilliseconds()
    return made


def test_an_object_is_the_same_in_a_listing_and_when_it_is_looked_at(backend):
    (listed,) = backend.below("bucket/prefix")
    (child,) = backend.children("bucket/prefix")
    assert listed == child == backend.stat(f"bucket/{KEY}")
    assert listed.mtime_ns == 1_772_539_201 * 10**9


@pytest.mark.parametrize("code", ["NotImplemented", "AccessDenied", "MethodNotAllowed"])
def test_a_server_that_lists_no_uploads_is_published_to_all_the_same(backend, monkeypatch, code):
    def refuse(call: str, **_: Any) -> None:
        raise ERROR_CODE_TO_EXCEPTION[code](f"{call} is refused")

    monkeypatch.setattr(backend, "fs", SimpleNamespace(call_s3=refuse))
    assert backend.give_up_left("bucket/prefix/.meso", 10**18) == 0


def test_uploads_are_given_up_over_all_pages_but_those_of_late(backend, monkeypatch):
    long_ago, now = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    given_up = []

    def answer(call: str, **how: Any) -> dict[str, Any]:
        if call == "abort_multipart_upload":
            if how["Key"] == "ended":
                raise FileNotFoundError(how["Key"])
            given_up.append((how["Key"], how["UploadId"]))
            return {}
        if "KeyMarker" not in how:
            uploads = [
                {"Key": "a", "UploadId": "1", "Initiated": long_ago},
                {"Key": "b", "UploadId": "2", "Initiated": now},
            ]
            return {"Uploads": uploads, "IsTruncated": True, "NextKeyMarker": "b", "NextUploadIdMarker": "2"}
        uploads = [{"Key": key, "UploadId": "3", "Initiated": long_ago} for key in ("ended", "c")]
        return {"Uploads": uploads, "IsTruncated": False}

    monkeypatch.setattr(backend, "fs", SimpleNamespace(call_s3=answer))
    assert backend.give_up_left("bucket/prefix/.meso", int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1e9)) == 2
    assert given_up == [("a", "1"), ("c", "3")]
