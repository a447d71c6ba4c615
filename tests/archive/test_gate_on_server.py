"""The gate where the session lies on a server: as strict as in a folder, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from server_scene import KEY, ServerScene

from meso_core.archive import archive_bout, given_times, load_removals, report_with_own_times, save_report
from meso_core.archive.delivered import delivered_files
from meso_core.errors import GateError, StorageError
from meso_core.storage.remote import RemoteRoot
from tests.remote_roots import new_root

pytestmark = pytest.mark.usefixtures("no_flushing")


@pytest.fixture(params=["memory", "s3", pytest.param("openssh", marks=pytest.mark.nightly)])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    return new_root(request.param, request, monkeypatch)


@pytest.fixture(params=["tar.bz2"])
def scene(request, root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path) -> ServerScene:
    return ServerScene.of(root, archived_short[request.param], tmp_path / "scratch")


def raw_versions(scene: ServerScene) -> list[tuple[str, int, int]]:
    session = scene.session("another")
    return [(file.path, file.size, file.mtime_ns) for file in delivered_files(session, session.manifests())]


#: The same of a whole session on S3, by the commands, is in ``tests/integration/test_remote_roots.py``.
@pytest.mark.parametrize(
    "root", ["memory", *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("s3", "openssh"))], indirect=True
)
@pytest.mark.parametrize("scene", ["tar.bz2", pytest.param("zarr", marks=pytest.mark.nightly)], indirect=True)
def test_tifs_are_removed_kept_freed_and_restored_and_nothing_becomes_stale(scene):
    before = raw_versions(scene)
    files = scene.paths()
    plan = scene.plan()
    assert plan.allowed
    assert {r.path for r in plan.removals} == set(scene.tifs)
    assert scene.paths() == files, "the dry run changed something"
    events = scene.remove()
    assert scene.at_their_places() == {}
    assert {event.path: event.sha256 for event in events} == scene.tifs
    assert load_removals(scene.session("another").path) == events
    assert raw_versions(scene) == before
    assert {tif.path for tif in scene.kept("another")} == set(scene.tifs)
    assert scene.free(7) == ()
    assert {tif.path for tif in scene.kept()} == set(scene.tifs)
    assert all(tif.put_back for tif in scene.restore("another"))
    assert scene.at_their_places() == scene.tifs
    assert raw_versions(scene) == before
    assert scene.plan("another").allowed, "they count as those that were archived"
    scene.remove("another")
    assert {tif.path for tif in scene.free(0)} == set(scene.tifs)
    assert not [path for path in scene.left_overs() if "/probe" not in path]
    assert not scene.lost(), "the archives hold them"
    assert raw_versions(scene) == before
    restored = scene.restore("third")
    assert {(tif.path, tif.sha256, tif.compared) for tif in restored} == {(*one, True) for one in scene.tifs.items()}
    assert scene.at_their_places() == scene.tifs
    assert raw_versions(scene) == before
    assert scene.left_overs() == []
    assert scene.plan().allowed


def test_without_processing_only_an_override_opens_the_gate(scene):
    plan = scene.plan(override=None)
    assert not plan.allowed
    assert all(
        str(scene.folder) not in o.where + o.message and "/tmp" not in o.where + o.message for o in plan.obstacles
    )
    with pytest.raises(GateError, match=f"^{scene.root.url}/{KEY}: expected an open gate"):
        scene.remove(plan=plan)
    assert scene.at_their_places() == scene.tifs


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_an_archive_that_is_made_of_tifs_that_came_back_tells_of_their_own_times(scene):
    before = raw_versions(scene)
    scene.remove()
    scene.restore()
    session = scene.session("third")
    folder = session.fetch([*scene.tifs, *(f"{tif.split('/')[0]}/imaging.frames.tar.bz2" for tif in scene.tifs)])
    with session.recording() as records:
        for name in {tif.split("/")[0] for tif in scene.tifs}:
            made = archive_bout(folder / name, archive_format="tar.bz2")
            assert {m.mtime_ns for m in made.members} == {scene.seen(f"{name}/{m.name}").mtime_ns for m in made.members}
            save_report(records, report_with_own_times(made, given_times(records)))
    assert raw_versions(scene) == before
    assert scene.plan().allowed
    scene.remove("fourth")
    assert raw_versions(scene) == before


def test_two_removers_at_once_and_the_second_is_refused(scene):
    plan, told = scene.plan("other"), []

    def meanwhile(*_: object) -> None:
        if not told:
            told.append(1)
            for work in (lambda: scene.remove("other", plan=plan), lambda: scene.free(0, "other")):
                with pytest.raises(StorageError, match="found one that is going on"):
                    work()
            with pytest.raises(StorageError, match="found one that is going on"):
                scene.restore("other")

    scene.remove(progress=meanwhile)
    assert told
    assert not scene.lost()
    assert len(scene.kept()) == len(scene.tifs)
