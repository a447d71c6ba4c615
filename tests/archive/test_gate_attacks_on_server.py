"""Attacks on the removal of raw tifs on a server: what a person, a rig, a program or a forger does, and when."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archive_processed import ARCHIVE_ASSET
from gate_attacks import sha256
from server_scene import KEY, ServerScene, quietly

from meso_core.archive import ArchiveReport
from meso_core.archive.gate.on_server.place import OnServer
from meso_core.errors import GateError, MesoError, StorageError
from meso_core.storage import Manifest
from meso_core.storage.remote import RemoteRoot
from tests.remote_roots import hash_of, new_root

pytestmark = pytest.mark.usefixtures("no_flushing")

Action = Callable[[ServerScene], None]
FIRST = "raw_imaging_data_00"
RECORD, MANIFEST = f".meso/archive/{FIRST}.json", f".meso/manifests/{ARCHIVE_ASSET}.json"


@pytest.fixture
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    return new_root(request.param, request, monkeypatch)


def first_tif(scene: ServerScene) -> str:
    return min(scene.tifs)


def tif_now(scene: ServerScene) -> str | None:
    """Where the first tif is now."""
    there, tif = scene.paths(), first_tif(scene)
    return next((path for path in (f".meso/removed/{tif}", tif) if path in there), None)


def archive(scene: ServerScene) -> str:
    return f"{FIRST}/imaging.frames.tar.bz2"


def spoils_the_archive(scene: ServerScene) -> None:
    """From now on only what is an object is precious: the attacker has destroyed the rest himself."""
    scene.precious &= {sha256(scene.get(path)) for path in scene.paths()}


def archive_has_a_flipped_bit(scene: ServerScene) -> None:
    spoils_the_archive(scene)
    content = bytearray(scene.get(archive(scene)))
    content[len(content) // 2] ^= 4
    scene.put(archive(scene), bytes(content))


def archive_is_cut(scene: ServerScene) -> None:
    spoils_the_archive(scene)
    scene.put(archive(scene), scene.get(archive(scene))[:-200])


def archive_is_deleted(scene: ServerScene) -> None:
    spoils_the_archive(scene)
    scene.take_away(archive(scene))


def another_archive_lies_beside_it(scene: ServerScene) -> None:
    scene.put(f"{FIRST}/imaging.frames.zarr/c/0", b"x")


def report(scene: ServerScene) -> ArchiveReport:
    return ArchiveReport.from_json(scene.get(RECORD).decode(), RECORD)


def other_archive(members: dict[str, int]) -> tuple[bytes, dict[str, str]]:
    """A whole tar.bz2 of tifs of these names and sizes, with other content; and their hashes."""
    made, hashes = io.BytesIO(), {}
    with tarfile.open(fileobj=made, mode="w:bz2") as tar:
        for name, size in members.items():
            content = (sha256(name.encode()).encode() * (size // 64 + 1))[:size]
            hashes[name] = sha256(content)
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue(), hashes


def forge(scene: ServerScene, *, record: bool, manifest: bool) -> None:
    """Put a whole, worthless archive in place, and let records say that it is the right one."""
    spoils_the_archive(scene)
    was = report(scene)
    content, hashes = other_archive({member.name: member.size for member in was.members})
    scene.put(archive(scene), content)
    found, there = hash_of(content), scene.seen(archive(scene))
    members = tuple(replace(member, sha256=hashes[member.name]) for member in was.members)
    forged = replace(was, members=members, size=found.size, sha256=found.sha256)
    if record:
        scene.put(RECORD, forged.to_json().encode())
    if manifest:
        made = Manifest.from_json(scene.get(MANIFEST).decode(), MANIFEST)
        files = [file for file in made.files if file.path != archive(scene)]
        one = next(file for file in made.files if file.path == archive(scene))
        files.append(replace(one, size=found.size, sha256=found.sha256, mtime_ns=there.mtime_ns))
        contents = {**made.contents, archive(scene): forged.contents}
        forged_manifest = replace(made, files=tuple(sorted(files, key=lambda file: file.path)), contents=contents)
        scene.put(MANIFEST, forged_manifest.to_json().encode())


def record_and_manifest_are_forged(scene: ServerScene) -> None:
    forge(scene, record=True, manifest=True)


def record_is_forged(scene: ServerScene) -> None:
    forge(scene, record=True, manifest=False)


def record_has_hashes_of_nothing(scene: ServerScene) -> None:
    was = report(scene)
    members = tuple(replace(member, sha256="0" * 64) for member in was.members)
    scene.put(RECORD, replace(was, members=members).to_json().encode())


def record_is_gone(scene: ServerScene) -> None:
    scene.take_away(RECORD)


def record_is_garbage(scene: ServerScene) -> None:
    scene.put(RECORD, b"\xff{")


def manifest_is_gone(scene: ServerScene) -> None:
    scene.take_away(MANIFEST)


def log_of_removals_is_forged(scene: ServerScene) -> None:
    """All tifs were removed long ago, it says, and the record of times says that they are those."""
    lines, times = [], []
    for path in scene.tifs:
        place = f".meso/removed/{path}"
        there = place if place in scene.paths() else path
        if there not in scene.paths():
            continue
        seen = scene.seen(there)
        event = {"path": path, "size": seen.size, "mtime_ns": seen.mtime_ns, "sha256": "0" * 64, "md5": "0" * 32}
        event |= {"archive": "x", "archive_sha256": "0" * 64, "at": "2000-01-01T00:00:00+00:00", "override": None}
        lines.append(json.dumps(event))
        times.append(json.dumps([place, seen.size, seen.mtime_ns, seen.mtime_ns]))
    scene.put(".meso/removals.jsonl", "".join(f"{line}\n" for line in lines).encode())
    scene.put(".meso/raw_times.jsonl", "".join(f"{line}\n" for line in times).encode())


def log_is_garbage(scene: ServerScene) -> None:
    scene.put(".meso/removals.jsonl", b"nonsense\nmore\n")


def record_of_times_is_garbage(scene: ServerScene) -> None:
    scene.put(".meso/raw_times.jsonl", b'[1]\n["a"\n\xff\n{"a": 1}\n')


def changed_tif(scene: ServerScene, change: Callable[[bytearray], None]) -> None:
    if (tif := tif_now(scene)) is not None:
        content = bytearray(scene.get(tif))
        change(content)
        scene.put(tif, bytes(content))
        scene.precious.add(sha256(bytes(content)))


def tif_is_rewritten(scene: ServerScene) -> None:
    changed_tif(scene, lambda content: content.__setitem__(len(content) // 2, content[len(content) // 2] ^ 4))


def tif_is_rewritten_and_the_records_are_made_to_fit(scene: ServerScene) -> None:
    """The record of times says that nobody has written it."""
    if (tif := tif_now(scene)) is None:
        return
    tif_is_rewritten(scene)
    seen, name = scene.seen(tif), tif.rpartition("/")[2]
    own = next(member.mtime_ns for member in report(scene).members if member.name == name)
    times = scene.get(".meso/raw_times.jsonl") if ".meso/raw_times.jsonl" in scene.paths() else b""
    scene.put(".meso/raw_times.jsonl", times + json.dumps([tif, seen.size, seen.mtime_ns, own]).encode() + b"\n")


def tif_grows(scene: ServerScene) -> None:
    changed_tif(scene, lambda content: content.extend(b"more"))


def tif_is_deleted(scene: ServerScene) -> None:
    if (tif := tif_now(scene)) is not None:
        scene.take_away(tif)


def rig_writes_a_new_tif_of_this_name(scene: ServerScene) -> None:
    content = b"II*\0 the rig's next recording"
    if first_tif(scene) not in scene.paths():
        scene.put(first_tif(scene), content)
        scene.precious.add(sha256(content))


def rig_writes_the_same_tif_again(scene: ServerScene) -> None:
    if first_tif(scene) not in scene.paths() and (tif := tif_now(scene)):
        scene.put(first_tif(scene), scene.get(tif))


def rig_writes_a_new_tif_of_another_name(scene: ServerScene) -> None:
    content = b"II*\0 a tif that came late"
    scene.put(f"{FIRST}/later_00009.tif", content)
    scene.precious.add(sha256(content))


def claims_are_removed(scene: ServerScene) -> None:
    """As after a sleep of five minutes: another one may be at work."""
    scene.after_a_kill()


ACTIONS: tuple[Action, ...] = (
    *(archive_has_a_flipped_bit, archive_is_cut, archive_is_deleted, another_archive_lies_beside_it),
    *(record_and_manifest_are_forged, record_is_forged, record_has_hashes_of_nothing, record_is_gone),
    *(record_is_garbage, manifest_is_gone, log_of_removals_is_forged, log_is_garbage, record_of_times_is_garbage),
    *(tif_is_rewritten, tif_is_rewritten_and_the_records_are_made_to_fit, tif_grows, tif_is_deleted),
    *(rig_writes_a_new_tif_of_this_name, rig_writes_the_same_tif_again, rig_writes_a_new_tif_of_another_name),
    claims_are_removed,
)
MOMENTS = (
    "before",
    "planned",
    "removing: bytes of copies compared",
    "removing: bytes downloaded",
    "removing: bytes verified",
    "removing: bytes of tifs compared",
    "removed",
    "freeing: bytes downloaded",
    "freeing: bytes verified",
    "freeing: bytes of tifs compared",
    "freeing: tifs freed",
)


class Attack:
    """Does the action once, at its moment."""

    def __init__(self, scene: ServerScene, action: Action, moment: str) -> None:
        self._scene, self._action, self._moment, self.done = scene, action, moment, False

    def at(self, moment: str) -> None:
        if moment == self._moment and not self.done:
            self.done = True
            self._action(self._scene)

    def during(self, what: str) -> Callable[[int, int, str], None]:
        return lambda done, total, told: self.at(f"{what}: {told}")


def attacked(scene: ServerScene, action: Action, moment: str) -> bool:
    """Remove and free while it is attacked, then settle and restore; nothing precious may be lost at any time."""
    attack = Attack(scene, action, moment)

    said = []

    def try_to(work: Callable[[], object]) -> None:
        try:
            work()
        except MesoError as error:
            said.append(str(error))
        assert not scene.lost(), f"{action.__name__}, {moment}"

    def remove() -> None:
        attack.at("before")
        plan = scene.plan()
        attack.at("planned")
        scene.remove(progress=attack.during("removing"), plan=plan)
        attack.at("removed")

    quietly(lambda: try_to(remove))
    quietly(lambda: try_to(lambda: scene.free(7, "other")))
    quietly(lambda: try_to(lambda: scene.free(0, progress=attack.during("freeing"))))
    scene.after_a_kill()
    quietly(lambda: try_to(lambda: scene.settle("other")))
    quietly(lambda: try_to(lambda: scene.restore("other")))
    assert not [error for error in said if str(scene.folder) in error or "meso-gate" in error], "they name the server"
    return attack.done


def moment_of(action: Action) -> str:
    """One moment for each, all in turn."""
    return MOMENTS[ACTIONS.index(action) % len(MOMENTS)]


@pytest.mark.sample
@pytest.mark.parametrize("root", ["memory"], indirect=True)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_nothing_is_lost_on_a_server(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, action: Action, tried: Any
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    assert attacked(scene, action, moment_of(action))
    tried("gate attacks: on a server")


@pytest.mark.nightly
@pytest.mark.parametrize("root", ["memory", "s3", "openssh"], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_nothing_is_lost_on_a_server_at_any_moment(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, action: Action, moment: str, tried: Any
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    if attacked(scene, action, moment):
        tried("gate attacks: on a server")


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
@pytest.mark.parametrize(
    ("action", "says"),
    [
        (archive_has_a_flipped_bit, "expected whole and valid bzip2 data"),
        (record_and_manifest_are_forged, "other content than its archive holds"),
        (record_is_forged, "tell of different archives"),
        (record_has_hashes_of_nothing, "list different tifs"),
        (record_is_gone, "no verification of an archive is recorded"),
        (tif_grows, "changed after it was archived"),
        (tif_is_rewritten_and_the_records_are_made_to_fit, "other content than its archive holds"),
        (rig_writes_a_new_tif_of_another_name, "later_00009.tif is not in the archive"),
        (another_archive_lies_beside_it, "lies beside imaging.frames.tar.bz2"),
    ],
)
def test_what_closes_the_gate_is_said_and_all_tifs_are_at_their_places(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, action: Action, says: str
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    action(scene)
    before = scene.at_their_places()
    with pytest.raises(GateError, match=says):
        quietly(scene.remove)
    assert scene.at_their_places() == before
    assert scene.paths(".meso/removed") == ()


@pytest.mark.parametrize("root", ["memory"], indirect=True)
@pytest.mark.parametrize("moment", [m for m in MOMENTS if ": " in m and m != "freeing: tifs freed"])
def test_a_claim_that_is_lost_stops_what_goes_on(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, moment: str
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    attack = Attack(scene, claims_are_removed, moment)
    with pytest.raises(StorageError, match="there was no sign of life"):  # noqa: PT012  at one of two moments
        quietly(lambda: scene.remove(progress=attack.during("removing")))
        quietly(lambda: scene.free(0, progress=attack.during("freeing")))
    assert not scene.lost()
    objects = {*scene.at_their_places(), *scene.paths(".meso/removed")}
    assert objects == {*scene.tifs}, "none was freed"
    scene.after_a_kill()
    quietly(lambda: scene.restore("other"))
    assert scene.at_their_places() == scene.tifs


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_kept_tif_that_is_written_after_the_last_look_at_it_is_not_freed(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    scene.remove()
    real = OnServer.unlink

    def written_before(self, file, was):
        tif_is_rewritten(scene)
        return real(self, file, was)

    monkeypatch.setattr(OnServer, "unlink", written_before)
    with pytest.raises(GateError, match="changed at the moment when its room was to be freed"):
        quietly(scene.free)
    assert not scene.lost()
    assert len(scene.at_their_places()) == len(scene.tifs), "after a doubt all go back"


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_without_room_to_fetch_the_archive_all_tifs_stay(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path
) -> None:
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    plan, scene.room = scene.plan(), 1000
    with pytest.raises(StorageError, match=r"room for .* Raise MESO_SCRATCH_GB"):
        quietly(lambda: scene.remove(plan=plan))
    assert scene.at_their_places() == scene.tifs
    assert scene.left_overs() == []
    scene.room = 10**10
    scene.remove(plan=plan)
    assert scene.at_their_places() == {}


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_server_that_ignores_conditions_keeps_its_tifs(
    root: RemoteRoot, archived_short: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would copy over what somebody writes at that moment."""
    scene = ServerScene.of(root, archived_short["tar.bz2"], tmp_path)
    if root.url.startswith("s3"):
        real = type(root.backend.fs).call_s3

        def without_conditions(self, method, *given, **asked):
            return real(self, method, *given, **{k: v for k, v in asked.items() if "Match" not in k})

        monkeypatch.setattr(type(root.backend.fs), "call_s3", without_conditions)
    else:
        monkeypatch.setattr(type(root.backend), "may_lose", lambda *_: "this server copies over an object")
    with pytest.raises(GateError, match=f"{KEY}.*this server copies over an object"):
        scene.remove()
    assert scene.at_their_places() == scene.tifs
    assert scene.left_overs() == []
