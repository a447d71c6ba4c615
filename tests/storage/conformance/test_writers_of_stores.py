"""Two writers at once, and writers that are killed: one whole version at any time, on each kind of root."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from tests.storage.conformance.backends import RIG, SERVERS, SHARED_BY_PROCESSES, Backend, nightly_if_remote
from tests.storage.conformance.publications import ASSET, KEY, Publisher, publish, publish_as_a_run, publisher

OLD = {"alf/FOV_00/a.npy": b"old a", "alf/FOV_00/b.npy": b"old b", "alf/FOV_01/only old.npy": b"old"}
NEW = {"alf/FOV_00/a.npy": b"new a", "alf/FOV_00/b.npy": b"old b", "alf/FOV_02/only new.npy": b"new" * 5000}


@pytest.fixture(params=nightly_if_remote(SHARED_BY_PROCESSES))
def shared(request: pytest.FixtureRequest, make_backend: Callable[..., Backend]) -> Backend:
    """A root that several processes can reach."""
    return make_backend(request.param)


@pytest.fixture
def program(shared: Backend) -> Iterator[Publisher]:
    with publisher(shared.environment) as started:
        yield started


def one_whole_version(backend: Backend, scratch: str, *versions: dict[str, bytes]) -> dict[str, bytes]:
    """Open the root as the next run does; returns which of the versions it holds, with nothing else beside it."""
    store = backend.open(scratch)
    store.stage(KEY, ASSET)
    manifest, found = store.manifest(KEY, ASSET), backend.results()
    assert found.pop(RIG[0]) == RIG[1]
    assert found in versions
    recorded = {file.path: file.size for file in manifest.files} if manifest else {}
    assert recorded == {path: len(content) for path, content in found.items()}
    return found


def published_whole(backend: Backend, scratch: str) -> None:
    """Publish the new version, and find it with nothing beside it, hidden or not, but records."""
    publish_as_a_run(backend.open(scratch), NEW, "run-3")
    assert backend.results() == {**NEW, RIG[0]: RIG[1]}
    left = [path for path in backend.paths() if path.startswith(".meso/")]
    kinds = {path.split("/")[1] for path in left}
    assert kinds <= {"manifests", "locks", "claims"}, left
    # half of a claim may be of somebody at work: it goes after a day
    left = [path for path in left if not (path.endswith(".part") and path.split("/")[1] in ("locks", "claims"))]
    assert not [path for path in left if "pending" in path or path.endswith((".part", ".held"))]


@pytest.mark.parametrize("first", [True, False], ids=["the first version", "a replacement"])
def test_two_writers_at_once_leave_the_version_of_one_of_them(shared: Backend, first: bool) -> None:
    if not first:
        publish(shared.open(), OLD)
    versions = [{"alf/x.npy": text * 3000, "alf/y.npy": text} for text in (b"1", b"2", b"3")]
    programs = [publisher(shared.environment) for _ in versions]
    started = [one.__enter__() for one in programs]
    try:
        for number, (one, files) in enumerate(zip(started, versions, strict=True)):
            one.begin(shared.url, shared.scratch / f"machine {number}", files, f"run-{number}")
        said = [one.end() for one in started]
    finally:
        for one in programs:
            one.__exit__(None, None, None)
    assert said == ["published"] * 3
    one_whole_version(shared, "next", *versions)
    published_whole(shared, "next")


def killed_at_steps(shared: Backend, program: Publisher, steps: list[int], tried: Callable[..., None]) -> None:
    n_killed = 0
    for number, step in enumerate(steps):
        program.begin(shared.url, shared.scratch / f"machine {number}", NEW, step=step)
        said = program.end()
        # on the machine on which it was killed, or on another one
        scratch = f"machine {number}" if number % 2 else f"another {number}"
        found = one_whole_version(shared, scratch, OLD, NEW)
        if said == "published":
            assert found == NEW
            break
        assert said == "killed"
        n_killed += 1
        tried("kills on shared roots: publication by another process")
        published_whole(shared, scratch)
        publish(shared.open(scratch), OLD, "run-1")
    assert n_killed, "it published before it could be killed"


@pytest.mark.sample
def test_killed_at_any_of_its_steps_a_writer_leaves_the_old_version_or_the_new_one(
    shared: Backend, program: Publisher, tried: Callable[..., None]
) -> None:
    publish(shared.open(), OLD)
    killed_at_steps(shared, program, [*range(1, 60, 11)], tried)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_killed_at_each_of_its_steps_a_writer_leaves_the_old_version_or_the_new_one(
    shared: Backend, program: Publisher, tried: Callable[..., None]
) -> None:
    publish(shared.open(), OLD)
    killed_at_steps(shared, program, [*range(1, 400)], tried)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", SERVERS)
def test_killed_while_it_talks_to_its_server_a_writer_leaves_the_old_version_or_the_new_one(
    make_backend: Callable[..., Backend], kind: str, tried: Callable[..., None]
) -> None:
    remote = make_backend(kind, bad=True)
    network = remote.network
    assert network is not None
    publish(remote.open(), OLD)
    before = network.sent
    publish(remote.open(), NEW, "run-2")
    total = network.sent - before
    publish(remote.open(), OLD)
    draw = random.Random(kind)
    with publisher(remote.environment) as program:
        for number in range(8):
            start, after = network.sent, draw.uniform(0.05, 1.0) * total
            program.begin(remote.url, remote.scratch / f"machine {number}", NEW)
            until = time.monotonic() + 20
            while network.sent - start < after and time.monotonic() < until:
                time.sleep(0.001)
            program.kill()
            assert program.end() in ("killed", "published")
            tried("kills on shared roots: publication by another process")
            scratch = f"machine {number}" if number % 2 else f"another {number}"
            one_whole_version(remote, scratch, OLD, NEW)
            published_whole(remote, scratch)
            publish(remote.open(scratch), OLD)
