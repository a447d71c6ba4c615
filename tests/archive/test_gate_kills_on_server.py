"""Removal and restoring on a server, killed or cut off at each request: nothing is lost, the next command goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from server_scene import ServerScene, quietly

from meso_core.archive.codec import lbzip2 as external
from meso_core.errors import GateError
from meso_core.storage.remote import RemoteRoot, list_below, remove
from tests.killed_calls import failing_at_request, killed_at_request, losing_answer_at_request
from tests.remote_roots import new_root

pytestmark = pytest.mark.usefixtures("no_flushing")


@pytest.fixture(autouse=True)
def _without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "PROGRAM", "a program that is nowhere")


@pytest.fixture
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    return new_root(request.param, request, monkeypatch)


def removing(scene: ServerScene) -> None:
    scene.remove()


def freeing(scene: ServerScene) -> None:
    scene.free(0)


def restoring(scene: ServerScene) -> None:
    scene.restore()


def finding_it_bad(scene: ServerScene) -> None:
    with pytest.raises(GateError):
        scene.remove()


def nothing(scene: ServerScene) -> None:
    """Go on from where it is."""


def removed(scene: ServerScene) -> None:
    scene.remove("before")


def freed(scene: ServerScene) -> None:
    scene.remove("before")
    scene.free(0, "before")


def spoiled(scene: ServerScene) -> None:
    path = next(path for path in scene.paths() if path.endswith("imaging.frames.tar.bz2"))
    content = bytearray(scene.get(path))
    content[len(content) // 2] ^= 4
    scene.put(path, bytes(content))


WORK: dict[str, tuple[Callable[[ServerScene], None], Callable[[ServerScene], None]]] = {
    "removing": (removing, nothing),
    "freeing": (freeing, removed),
    "putting back": (restoring, removed),
    "restoring": (restoring, freed),
    "finding the archive bad": (finding_it_bad, spoiled),
}


HOW = ("killed", "killed, answered", "cut", "cut, answered")


def clear(root: RemoteRoot) -> None:
    remove(root, [file.path for file in list_below(root)])


def goes_on(scene: ServerScene, *, by_removing: bool, bad_archive: bool) -> None:
    """Go on with another command, on another machine, and see that it ends as without the kill."""
    if bad_archive:
        scene.settle("next")
        assert scene.at_their_places() == scene.tifs
        return
    if by_removing:
        scene.settle("next")
        if scene.plan("next").removals:
            scene.remove("next")
        scene.free(0, "next")
        assert not scene.lost()
        assert scene.at_their_places() == {}
    scene.restore("last")
    assert scene.at_their_places() == scene.tifs
    assert scene.left_overs() == []
    assert scene.plan("last").allowed, "each has the time on record"


def sweep(
    root: RemoteRoot, base: Path, folder: Path, what: str, how: str, tried: Callable[[str], None], *requests: int
) -> int:
    """Kill, or cut, at some requests (first, step); returns how often."""
    work, before = WORK[what]
    at_request = killed_at_request if how.startswith("killed") else failing_at_request
    for times, n in enumerate(count(*requests)):
        clear(root)
        scene = ServerScene.of(root, base, folder / str(n))
        before(scene)
        came = quietly(partial(at_request, n, partial(work, scene), answered=how.endswith("answered")))
        scene.after_a_kill()
        scene.forget_machines()
        assert not scene.lost(), f"{what} {how} {n}"
        if work is not freeing and before is not freed:
            kept = {path for path in scene.paths(".meso/removed") if scene.get(f".meso/removed/{path}")}
            assert {*scene.at_their_places(), *kept} == {*scene.tifs}, f"{what} {how} {n}: a tif is in neither place"
        quietly(partial(goes_on, scene, by_removing=n % 2 == 0, bad_archive=before is spoiled))
        if not came:
            return times
        tried(f"kills on shared roots: {what}, at each request")
    raise AssertionError("unreachable")


#: Each work once and each way once; the nightly test takes all with all.
EACH_ONCE = [*zip(WORK, itertools.cycle(HOW))]


@pytest.mark.sample
@pytest.mark.parametrize("root", ["memory"], indirect=True)
@pytest.mark.parametrize(("what", "how"), EACH_ONCE)
def test_the_next_command_goes_on_after_it(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, what: str, how: str, tried: Any
) -> None:
    first = 3 + 7 * HOW.index(how) + 2 * [*WORK].index(what)
    assert sweep(root, archived_short["tar.bz2"], tmp_path, what, how, tried, first, 41) >= 1


@pytest.mark.nightly
@pytest.mark.parametrize("root", ["memory", "s3", "openssh"], indirect=True)
@pytest.mark.parametrize("what", WORK)
@pytest.mark.parametrize("how", HOW)
def test_the_next_command_goes_on_after_it_at_any_request(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, what: str, how: str, tried: Any
) -> None:
    assert sweep(root, archived_short["tar.bz2"], tmp_path, what, how, tried, 1, 1) >= 30


def sweep_lost_answers(root: RemoteRoot, base: Path, folder: Path, every: int, tried: Callable[[str], None]) -> int:
    def all_of_it() -> None:
        scene.remove()
        scene.restore()
        scene.remove()
        scene.free(0)
        scene.restore()

    for n in count(1, every):
        clear(root)
        scene = ServerScene.of(root, base, folder / str(n))
        came = losing_answer_at_request(n, all_of_it)
        assert scene.at_their_places() == scene.tifs
        assert scene.left_overs() == []
        assert scene.plan().allowed
        if not came:
            return (n - 1) // every
        tried("bad networks: removal and restoring, answers that are lost")
    raise AssertionError("unreachable")


@pytest.mark.sample
@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_a_lost_answer_changes_nothing(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, tried: Any
) -> None:
    assert sweep_lost_answers(root, archived_short["tar.bz2"], tmp_path, 67, tried) >= 5


@pytest.mark.nightly
@pytest.mark.parametrize("root", ["memory", "s3", "openssh"], indirect=True)
def test_a_lost_answer_to_any_request_changes_nothing(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, tried: Any
) -> None:
    assert sweep_lost_answers(root, archived_short["tar.bz2"], tmp_path, 1, tried) >= 100
