"""Removing raw tifs on a server and bringing them back makes nothing stale, and what is made meanwhile is the same."""

from __future__ import annotations

import pytest

from meso_assets.defs.lineage.audits import audited
from meso_assets.defs.removal import removal
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_core.archive import raw_place, restore
from meso_core.storage import hash_file
from meso_core.storage.remote import list_below, open_root, upload
from tests.one_status import session_status
from tests.short_session import short

QUICK = ("imaging_metadata", "imaging_frames_archive")


@pytest.fixture(scope="module")
def archived(tmp_path_factory, make_settings, materialise):
    """A session in memory, whose tifs were archived by the platform."""
    from meso_core.simulate import simulate_session

    folder = tmp_path_factory.mktemp("removal")
    settings = make_settings(folder, root="memory://removal/Subjects", executor="in_process")
    made, root = simulate_session(folder / "rig", short()), open_root("memory://removal/Subjects")
    for file in made.session_path.rglob("*"):
        if file.is_file():
            upload(root, file, f"{made.key}/{file.relative_to(made.session_path).as_posix()}", content=hash_file(file))
    with open_instance(settings) as instance:
        assert materialise(instance, settings, made.key, QUICK).success
        yield settings, instance, made.key, root


def test_what_was_made_stays_current_while_tifs_go_and_come(archived, materialise):
    settings, instance, key, root = archived
    platform = Platform.open(settings)
    session = platform.session(str(key))

    def raw() -> dict[object, str]:
        return {kind: files.version for kind, files in look_at(platform.session(str(key))).raw.items()}

    def made() -> dict[str, str]:
        assert materialise(instance, settings, key, QUICK).success
        cells, _ = session_status(platform, instance, key)
        assert {cell.asset: cell.state.value for cell in cells if cell.asset in QUICK} == dict.fromkeys(QUICK, "done")
        for deep in (False, True):
            found = audited(platform.session(str(key)), settings, instance, deep=deep).findings
            assert found == (), "the audit finds nothing"
        return {asset: platform.session(str(key)).manifest(asset).digest for asset in QUICK}

    def tifs() -> set[str]:
        return {file.path for file in list_below(root, str(key)) if file.path.endswith(".tif")}

    def back() -> None:
        with raw_place(session) as place:
            restore(place)

    versions, digests, there = raw(), made(), tifs()
    n = len(removal.remove(session, removal.plan_removal(session, "Ada", "a test")))
    assert n > 1
    assert len(tifs() - {path for path in tifs() if path.startswith(".meso/")}) == len(there) - n
    assert (raw(), made()) == (versions, digests), "moved away"
    back()
    assert (raw(), made(), tifs()) == (versions, digests, there), "put back"
    removal.remove(session, removal.plan_removal(session, "Ada", "a test"))
    assert len(removal.free(session, 0)) == n
    assert (raw(), made(), len(tifs())) == (versions, digests, len(there) - n), "freed"
    back()
    assert (raw(), made(), tifs()) == (versions, digests, there), "restored"
