"""What S3 servers say, each in its own way, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from meso_core.storage.remote.s3 import S3Backend

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
