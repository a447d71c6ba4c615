"""Attacks on the removal of raw tifs: whatever happens in between, no content is lost, and each error has a name."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import gate_attacks
import pytest
from archive_processed import ARCHIVE_ASSET, plan_of
from gate_attacks import ACTIONS, MOMENTS, Scene, sha256

from meso_core.archive import Override, bout_source, free_removed, kept_tifs, remove_raw_tifs, restore, settle_if_needed
from meso_core.errors import GateError, MesoError, MesoWarning, StorageError
from meso_core.scanimage import BoutSource

pytestmark = pytest.mark.usefixtures("no_flushing")

Action = Callable[[Scene], None]
WHO = Override("a person", "nothing is processed")
#: One moment of each action that the everyday run tries; the nightly one tries all.
EVERYDAY: dict[Action, str] = {
    **{action: MOMENTS[i % len(MOMENTS)] for i, action in enumerate(ACTIONS)},
    # at other moments these have nothing to change
    gate_attacks.tif_got_a_second_name_and_is_written_by_it: "freeing: bytes of tifs compared",
    gate_attacks.rig_writes_a_new_tif_of_this_name: "removing: bytes of tifs compared",
    gate_attacks.program_writes_through_its_descriptor: "planned",
    gate_attacks.program_writes_through_a_memory_map: "before",
    gate_attacks.place_of_removed_tifs_is_a_link: "planned",
    gate_attacks.place_of_removed_tifs_of_a_bout_is_a_file: "before",
}


def state(session: Path) -> dict[Path, tuple[object, ...]]:
    """What an attack may change: names, kinds, links, times and contents."""
    found: dict[Path, tuple[object, ...]] = {}
    for path in session.rglob("*"):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[path] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found


def go_through(scene: Scene, action: Action, moment: str, attacked: Callable[[], None]) -> str:
    """Remove, free, restore, while the action happens at its moment; returns what came of the tifs.

    ``attacked`` is called when the action has changed something: only then it was an attack.
    """
    happened = []

    def happens_at(now: str) -> None:
        if now == moment and not happened:
            happened.append(now)
            before = state(scene.session)
            action(scene)
            if state(scene.session) != before:
                attacked()

    def listen(phase: str) -> Callable[[int, int, str], None]:
        return lambda done, total, what: happens_at(f"{phase}: {what}")

    outcome = "kept"
    with suppress(MesoError):
        happens_at("before")
        plan = plan_of(scene.session, override=WHO)
        happens_at("planned")
        remove_raw_tifs(plan, progress=listen("removing"))
        outcome = "removed"
        happens_at("removed")
        free_removed(scene.session, ARCHIVE_ASSET, 0, progress=listen("freeing"))
        outcome = "freed"
    refused = bool(scene.opened) and outcome == "kept"  # a program has a tif open: that alone closes the gate
    assert happened or refused, f"{moment} did not come, so nothing was attacked"
    assert not scene.lost(), f"{action.__name__} {moment}: lost, {outcome}"
    with suppress(MesoError):
        restore(scene.session)
    assert not scene.lost(), f"{action.__name__} {moment}: lost by restoring"
    return outcome


def attack(base: Path, folder: Path, action: Action, moment: str, attacked: Callable[[], None]) -> str:
    """Make a copy of a session and attack it; ``attacked`` as for :func:`go_through`."""
    scene = Scene.of(Path(shutil.copytree(base, folder / "001")))
    writes = action.__name__.startswith("program_")
    with scene.place.open("r+b") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        if writes:
            scene.opened.append(file)
        else:
            file.close()
        return go_through(scene, action, moment, attacked)


@pytest.mark.sample
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_nothing_is_lost(archived_short: dict[str, Path], tmp_path: Path, action: Action, tried: Any) -> None:
    counted = []

    def attacked() -> None:
        tried(f"gate attacks: on {gate_attacks.target_of(action)}")
        counted.append(action)

    attack(archived_short["tar.bz2"], tmp_path, action, EVERYDAY[action], attacked)
    assert counted, "nothing was changed: choose another moment"


@pytest.mark.nightly
@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_nothing_is_lost_at_any_moment(
    archived_short: dict[str, Path], tmp_path: Path, action: Action, moment: str, archive_format: str, tried: Any
) -> None:
    """Some have nothing to change at some moment; those are not counted."""
    row = f"gate attacks: on {gate_attacks.target_of(action)}"
    attack(archived_short[archive_format], tmp_path, action, moment, lambda: tried(row))


@pytest.mark.parametrize("moment", ["removing: bytes verified", "removed", "freeing: bytes verified"])
@pytest.mark.parametrize(
    "action",
    [gate_attacks.program_writes_through_its_descriptor, gate_attacks.program_writes_through_a_memory_map],
    ids=lambda action: action.__name__,
)
def test_a_writer_is_noticed_by_what_it_writes_where_the_system_does_not_tell_of_writers(
    archived_short: dict[str, Path],
    tmp_path: Path,
    action: Action,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    tried: Any,
) -> None:
    monkeypatch.delattr(fcntl, "F_SETLEASE")
    attack(archived_short["tar.bz2"], tmp_path, action, moment, lambda: tried("gate attacks: on the tifs"))


def test_without_an_attack_the_tifs_are_freed_and_come_back(archived_short: dict[str, Path], tmp_path: Path) -> None:
    """Else the attacks would show nothing."""
    for archive_format, base in archived_short.items():
        nobody: list[str] = []
        outcome = attack(base, tmp_path / archive_format, lambda _: None, "before", partial(nobody.append, "attacked"))
        assert (outcome, nobody) == ("freed", [])


@pytest.fixture
def scene(archived_short: dict[str, Path], tmp_path: Path) -> Scene:
    """A session that a test may spoil."""
    return Scene.of(Path(shutil.copytree(archived_short["tar.bz2"], tmp_path / "001")))


@pytest.mark.parametrize("second", ["removing", "freeing", "restoring"])
def test_a_second_removal_or_restoring_is_refused_while_one_is_going_on(scene: Scene, second: str, tried: Any) -> None:
    tried("races: second removal meanwhile")
    told = []
    plan = plan_of(scene.session, override=WHO)
    calls: dict[str, Callable[[], object]] = {
        "removing": lambda: remove_raw_tifs(plan),
        "freeing": lambda: free_removed(scene.session, ARCHIVE_ASSET, 0),
        "restoring": lambda: restore(scene.session),
    }

    def meanwhile(*_: object) -> None:
        with pytest.raises(StorageError, match="found one that is going on"):
            calls[second]()
        with pytest.warns(MesoWarning, match="going on"):
            settle_if_needed(scene.session)
        told.append(second)

    remove_raw_tifs(plan, progress=meanwhile)
    assert told
    assert not scene.lost()
    assert len(kept_tifs(scene.session)) == 3


def test_who_reads_the_frames_meanwhile_gets_them_or_a_named_error(scene: Scene, tried: Any) -> None:
    tried("races: reader meanwhile")
    bout = scene.place.parent

    def pages(source: BoutSource) -> list[bytes]:
        return [block.pixels.tobytes() for tif in source.tifs for block in tif.blocks()]

    before, reading = pages(bout_source(bout)), bout_source(bout)
    read: list[bytes] = []
    first, *rest = reading.tifs
    blocks = first.blocks(1 << 10)
    read.append(next(blocks).pixels.tobytes())
    remove_raw_tifs(
        plan_of(scene.session, override=WHO), progress=lambda *_: read.append(b"".join(pages(bout_source(bout))))
    )
    assert set(read[1:]) == {b"".join(before)}, "from the archive, while the tifs are away"
    assert read[0] + b"".join(block.pixels.tobytes() for block in blocks) == before[0]
    with pytest.raises(MesoError):
        list(rest[0].blocks())


def test_a_full_disk_leaves_all_tifs_at_their_places(
    archived_short: dict[str, Path], disk: Callable[[str], Any], tried: Any
) -> None:
    tried("gate attacks: a full disk")
    with disk("size=2m") as folder:
        scene = Scene.of(Path(shutil.copytree(archived_short["tar.bz2"], folder / "001")))
        (scene.session / ".meso" / "locks").mkdir(exist_ok=True)
        for kept in scene.tifs:
            (scene.session / ".meso" / "removed" / kept).parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while file.write(bytes(512)):
                pass
        with pytest.raises(StorageError, match="room on the disk"):
            remove_raw_tifs(plan_of(scene.session, override=WHO))
        assert all((scene.session / path).is_file() for path in scene.tifs)
        assert not scene.lost()


def test_tifs_on_another_file_system_are_refused_by_name(scene: Scene, disk: Callable[..., Any], tried: Any) -> None:
    tried("gate attacks: another file system")
    bout = scene.place.parent
    here = bout.rename(bout.with_name("here"))
    with disk("size=2m", bout):
        shutil.copytree(here, bout, dirs_exist_ok=True)
        shutil.rmtree(here)
        with pytest.raises(GateError, match=f"{bout.name}: its tifs are on another file system than .meso"):
            remove_raw_tifs(plan_of(scene.session, override=WHO))
        assert not scene.lost()
        assert all((scene.session / path).is_file() for path in scene.tifs)


def test_a_folder_of_records_without_the_right_to_write_keeps_the_tifs(
    archived_short: dict[str, Path], others_folder: Path, another_user: Callable[[], Any], tried: Any
) -> None:
    tried("gate attacks: no rights")
    scene = Scene.of(Path(shutil.copytree(archived_short["tar.bz2"], others_folder / "001")))
    for path in (scene.session, *scene.session.rglob("*")):
        path.chmod(0o777 if path.is_dir() and path.name != ".meso" else 0o755)
    shutil.rmtree(scene.session / ".meso" / "locks", ignore_errors=True)
    with another_user(), pytest.raises(StorageError, match="Check the permissions"):
        remove_raw_tifs(plan_of(scene.session, override=WHO))
    assert all((scene.session / path).is_file() for path in scene.tifs)


def test_a_clock_that_is_set_back_frees_nothing_too_early(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, tried: Any
) -> None:
    tried("gate attacks: a clock set back")

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(2001, 1, 1, tzinfo=tz)

    with monkeypatch.context() as patched:
        patched.setattr("meso_core.archive.gate.removal.datetime", Clock)
        (first, *_) = remove_raw_tifs(plan_of(scene.session, override=WHO))
        assert first.at.startswith("2001")
        assert free_removed(scene.session, ARCHIVE_ASSET, 1) == ()
    assert free_removed(scene.session, ARCHIVE_ASSET, 1) == ()
    assert len(kept_tifs(scene.session)) == 3


def test_the_second_name_that_a_killed_restoring_of_an_earlier_version_left_is_cleared_and_told(scene: Scene) -> None:
    """Else the room of its tif would never be free."""
    part = scene.place.with_name(f".{scene.place.name}.part")
    os.link(scene.place, part)
    with pytest.warns(MesoWarning, match=r"\.part: second name of a tif, removed"):
        remove_raw_tifs(plan_of(scene.session, override=WHO))
    assert not part.exists()


def test_both_are_kept_and_named_where_the_rig_has_taken_the_place_of_a_tif(scene: Scene, tried: Any) -> None:
    tried("gate attacks: on the tifs")
    gate_attacks.archive_has_a_flipped_bit(scene)

    def rig_writes(*_: object) -> None:
        gate_attacks.rig_writes_a_new_tif_of_this_name(scene)

    both = r"a new file of this name is there; the tif itself is kept as \.meso/removed"
    plan = plan_of(scene.session, override=WHO)
    with pytest.warns(MesoWarning, match=both), pytest.raises(GateError):
        remove_raw_tifs(plan, progress=rig_writes)
    assert not scene.lost()
    with pytest.warns(MesoWarning, match=both):
        settle_if_needed(scene.session)  # a later run: still both
    assert not scene.lost()
    scene.place.rename(scene.session / "the rigs.tif")  # the remedy
    with pytest.warns(MesoWarning, match="put back"):
        settle_if_needed(scene.session)
    assert sha256(scene.place.read_bytes()) in scene.precious
    assert not (scene.session / ".meso" / "removed").exists()
