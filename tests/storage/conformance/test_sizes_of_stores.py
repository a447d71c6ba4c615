"""Ten thousand small files, and one of 6 GB, on each kind of root."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from meso_core.storage import MadeBy
from tests.storage.conformance.backends import KINDS, Backend, nightly_if_remote
from tests.storage.conformance.publications import ASSET, BASIS, KEY

MANY, LARGE = 10_000, 6_000_000_000


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_small_files(make_backend: Callable[..., Backend], kind: str, no_flushing: None) -> None:
    many(make_backend(kind), MANY)


@pytest.mark.parametrize("kind", nightly_if_remote(KINDS))
def test_a_hundred_small_files(make_backend: Callable[..., Backend], kind: str, no_flushing: None) -> None:
    many(make_backend(kind), 100)


def many(backend: Backend, n: int) -> None:
    files = {f"alf/FOV_{i % 10:02}/file {i:05}.npy": b"%d" % i for i in range(n)}
    store = backend.open()
    staging = store.stage(KEY, ASSET)
    for path, content in files.items():
        staging.write(path, content)
    manifest = store.publish(KEY, staging.seal(), BASIS, MadeBy("run-1"))
    assert len(manifest.files) == n
    other = backend.open("other")
    assert len(other.listing(KEY)) == n + 1
    folder = other.local(KEY, files)
    assert all((folder / path).read_bytes() == content for path, content in files.items())


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_a_file_of_6_gb(make_backend: Callable[..., Backend], kind: str) -> None:
    """It is sparse where it is made; what it holds is known without reading it."""
    backend, path, last = make_backend(kind), "suite2p/plane0/movie.bin", b"the last bytes"
    store = backend.open()
    staging = store.stage(KEY, ASSET)
    file = staging.folder / path
    file.parent.mkdir(parents=True)
    with file.open("wb") as movie:
        movie.seek(LARGE - len(last))
        movie.write(last)
    manifest = store.publish(KEY, staging.seal(), BASIS, MadeBy("run-1"))
    assert (manifest.files[0].size, manifest.files[0].sha256) == (LARGE, hash_of_zeros(last))
    other = backend.open("other")
    fetched: Path = other.local(KEY, [path]) / path
    assert fetched.stat().st_size == LARGE
    with fetched.open("rb") as movie:
        movie.seek(LARGE - len(last))
        assert movie.read() == last


def hash_of_zeros(last: bytes) -> str:
    sha, zeros, left = hashlib.sha256(), bytes(1 << 22), LARGE - len(last)
    while left:
        sha.update(zeros[: min(left, len(zeros))])
        left -= min(left, len(zeros))
    sha.update(last)
    return sha.hexdigest()
