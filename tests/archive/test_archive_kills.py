"""Removal and restoring killed, or cut off from power, at every step: nothing is lost, and the next command goes on."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_processed import ARCHIVE_ASSET, plan_of
from gate_attacks import Scene, archive_has_a_flipped_bit, sha256
from kills import killed_at
from power_loss import watched, write_tree
from test_archive_attacks import WHO

from meso_core.archive import free_removed, kept_tifs, remove_raw_tifs, restore, settle_if_needed
from meso_core.archive.codec import lbzip2 as external
from meso_core.errors import GateError, MesoWarning
from meso_core.session import imaging_bouts, raw_tifs

#: More steps than any of these has.
pytestmark = pytest.mark.usefixtures("no_flushing")

MANY = 400


@pytest.fixture(autouse=True)
def _quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cleared is told by warnings; and no program is left behind by a child that is killed."""
    warnings.simplefilter("ignore", MesoWarning)
    monkeypatch.setattr(external, "PROGRAM", "a program that is nowhere")


def remove(session: Path) -> None:
    remove_raw_tifs(plan_of(session, override=WHO))


def remove_and_free(session: Path) -> None:
    settle_if_needed(session)
    if plan_of(session, override=WHO).removals:
        remove(session)
    free_removed(session, ARCHIVE_ASSET, 0)


def fail_to_remove(session: Path) -> None:
    with pytest.raises(GateError):
        remove(session)


def spoil_archive(session: Path) -> None:
    archive_has_a_flipped_bit(Scene.of(session))


#: What is killed, and what went before it.
WORK: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "removing": (remove, lambda session: None),
    "freeing": (lambda session: free_removed(session, ARCHIVE_ASSET, 0), remove),
    "putting back": (restore, remove),
    "restoring": (restore, remove_and_free),
    "finding the archive bad": (fail_to_remove, spoil_archive),
}


def contents(session: Path) -> dict[str, str]:
    tifs = [tif for bout in imaging_bouts(session) for tif in raw_tifs(bout)]
    return {tif.relative_to(session).as_posix(): sha256(tif.read_bytes()) for tif in tifs}


def left_overs(session: Path) -> list[str]:
    found = [*session.rglob("*.part"), session / ".meso" / "restoring", session / ".meso" / "removed"]
    return [path.relative_to(session).as_posix() for path in found if path.exists()]


def goes_on(session: Path, scene: Scene, tifs: dict[str, str], *, by_removing: bool, bad_archive: bool = False) -> None:
    """Go on after a kill with another command, and see that it ends as without the kill."""
    scene.session = session
    assert not scene.lost()
    if bad_archive:
        settle_if_needed(session)
        assert contents(session) == tifs
        return
    if by_removing:
        remove_and_free(session)
        assert not scene.lost()
        assert contents(session) == {}
        assert kept_tifs(session) == ()
        assert left_overs(session) == []
    restore(session)
    assert contents(session) == tifs
    assert left_overs(session) == []


def sweep(base: Path, folder: Path, what: str, every: int, tried: Callable[[str], None]) -> int:
    """Kill at every n-th step; returns the number of kills."""
    work, before = WORK[what]
    scene, tifs = Scene.of(base), contents(base)
    prepared = Path(shutil.copytree(base, folder / "prepared"))
    before(prepared)
    for step in range(1, MANY, every):
        session = Path(shutil.copytree(prepared, folder / str(step)))
        if not killed_at(step, lambda session=session: work(session)):  # type: ignore[misc]
            return (step - 1) // every
        tried(f"kills at system calls: {what}")
        goes_on(session, scene, tifs, by_removing=step % 2 == 0, bad_archive=work is fail_to_remove)
        shutil.rmtree(session)
    pytest.fail("more steps than were tried")


@pytest.mark.sample
@pytest.mark.parametrize("what", WORK)
def test_the_next_command_goes_on_after_a_kill(
    archived_short: dict[str, Path], tmp_path: Path, what: str, tried: Any
) -> None:
    assert sweep(archived_short["tar.bz2"], tmp_path, what, 7, tried) >= 2


@pytest.mark.nightly
@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
@pytest.mark.parametrize("what", WORK)
def test_the_next_command_goes_on_after_a_kill_at_any_step(
    archived_short: dict[str, Path], tmp_path: Path, what: str, archive_format: str, tried: Any
) -> None:
    assert sweep(archived_short[archive_format], tmp_path, what, 1, tried) >= 10


@pytest.mark.parametrize(
    "every", [pytest.param(3, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("what", WORK)
def test_a_loss_of_power_at_any_step_loses_no_tif(
    archived_short: dict[str, Path], tmp_path: Path, what: str, every: int, tried: Any
) -> None:
    base = archived_short["tar.bz2"]
    work, before = WORK[what]
    scene, tifs = Scene.of(base), contents(base)
    session = Path(shutil.copytree(base, tmp_path / "001"))
    before(session)
    with watched(session) as disk:
        work(session)
    assert len(disk.states) > 3
    states = [*enumerate(disk.states)][::every]
    tried(f"losses of power: {what}", len(states))
    for number, tree in states:
        left = write_tree(tree, tmp_path / str(number))
        goes_on(left, scene, tifs, by_removing=number % 2 == 0, bad_archive=work is fail_to_remove)
        shutil.rmtree(left)
