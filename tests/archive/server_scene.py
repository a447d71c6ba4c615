"""An archived session on a server, as a test of the gate sees it: the files themselves, past the store."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from archive_processed import ARCHIVE_ASSET, ASSET
from gate_attacks import sha256, unpacked

from meso_core.archive import (
    KeptTif,
    Override,
    RemovalEvent,
    RemovalPlan,
    RestoredTif,
    free_removed,
    raw_place,
    removal_plan,
    remove_raw_tifs,
    restore,
    settle_if_needed,
)
from meso_core.errors import MesoError, MesoWarning
from meso_core.progress import Progress, silent
from meso_core.session import SessionKey
from meso_core.storage import Session, hash_file
from meso_core.storage.remote import RemoteRoot, list_below, read_range, remove, stat, upload, write_small
from meso_core.storage.remote.mirrors.scratch import Scratch
from meso_core.storage.remote.sessions.store import RemoteStore
from tests.killed_calls import let_claims_end

KEY = SessionKey.parse("SP035/2023-03-03/001")
WHO = Override("Ada", "it was not registered")
#: The rig's tifs were written then, where a server lets their time be set.
_THEN_NS = 1_700_000_000 * 10**9


@dataclass
class ServerScene:
    """A session on a server; each name of a machine has a scratch folder of its own."""

    root: RemoteRoot
    folder: Path
    precious: set[str] = field(default_factory=set)
    tifs: dict[str, str] = field(default_factory=dict)
    #: Room of each machine, bytes.
    room: int = 10**10

    @classmethod
    def of(cls, root: RemoteRoot, session: Path, folder: Path) -> ServerScene:
        """Put a session that was archived in a folder onto a server; the records tell of the server's times."""
        scene = cls(root, folder)
        for file in sorted(session.rglob("*")):
            path = file.relative_to(session).as_posix()
            if file.is_file() and not path.startswith((".meso/locks", ".meso/archive")):
                upload(root, file, f"{KEY}/{path}", content=hash_file(file))
                if path.endswith(".tif") and "/reference/" not in path:
                    place = root.place(f"{KEY}/{path}")
                    root.call("set the time of", path, lambda server, place=place: server.set_time(place, _THEN_NS))
                    scene.tifs[path] = sha256(file.read_bytes())
        for record in (session / ".meso" / "archive").glob("*.json"):
            body = json.loads(record.read_text())
            for member in body["members"]:
                member["mtime_ns"] = scene.seen(f"{body['bout']}/{member['name']}").mtime_ns
            scene.put(f".meso/archive/{record.name}", json.dumps(body).encode())
        scene.precious = set(scene.tifs.values())
        return scene

    def session(self, machine: str = "one") -> Session:
        """Open the session on a machine."""
        store = RemoteStore(self.root, Scratch(self.folder / machine, self.room))
        return Session(KEY, store.local(KEY), store)

    # ---- what the platform does

    def plan(self, machine: str = "one", override: Override | None = WHO) -> RemovalPlan:
        with raw_place(self.session(machine)) as place:
            return removal_plan(place, ASSET, archive_asset=ARCHIVE_ASSET, override=override)

    def remove(
        self, machine: str = "one", progress: Progress = silent, plan: RemovalPlan | None = None
    ) -> tuple[RemovalEvent, ...]:
        plan = plan or self.plan(machine)
        with raw_place(self.session(machine), progress) as place:
            return remove_raw_tifs(plan, place=place, progress=progress)

    def free(self, days: float = 0, machine: str = "one", progress: Progress = silent) -> tuple[KeptTif, ...]:
        with raw_place(self.session(machine), progress) as place:
            return free_removed(place, ARCHIVE_ASSET, days, progress=progress)

    def restore(self, machine: str = "one", progress: Progress = silent) -> tuple[RestoredTif, ...]:
        with raw_place(self.session(machine), progress) as place:
            return restore(place, progress=progress)

    def settle(self, machine: str = "one") -> None:
        with raw_place(self.session(machine)) as place:
            settle_if_needed(place)

    def kept(self, machine: str = "one") -> tuple[KeptTif, ...]:
        with raw_place(self.session(machine)) as place:
            return place.kept()

    # ---- past the store

    def get(self, path: str) -> bytes:
        return read_range(self.root, f"{KEY}/{path}", 0, self.seen(path).size)

    def put(self, path: str, content: bytes) -> None:
        write_small(self.root, f"{KEY}/{path}", content)

    def take_away(self, path: str) -> None:
        remove(self.root, [f"{KEY}/{path}"])

    def seen(self, path: str):
        found = stat(self.root, f"{KEY}/{path}")
        assert found is not None, path
        return found

    def paths(self, below: str = "") -> tuple[str, ...]:
        return tuple(file.path for file in list_below(self.root, f"{KEY}/{below}".rstrip("/")))

    def at_their_places(self) -> dict[str, str]:
        """Path → hash of the tifs of the bouts."""
        there = [path for path in self.paths() if path.startswith("raw_imaging_data") and path.endswith(".tif")]
        return {path: sha256(self.get(path)) for path in there if "/reference/" not in path}

    def left_overs(self) -> list[str]:
        places = (".meso/removed", ".meso/restoring", ".meso/locks", ".meso/claims")
        return [path for path in self.paths() if path.startswith(places)]

    def lost(self) -> set[str]:
        """Hashes of precious contents that are in no object, and in no archive that can be unpacked."""
        found, archives = set(), set()
        for path in self.paths():
            content = self.get(path)
            found.add(sha256(content))
            if "/imaging.frames." in path and path.startswith("raw_"):
                archives.add("/".join(path.split("/")[:2]))
        if self.precious <= found:
            return set()
        for archive in archives:
            with tempfile.TemporaryDirectory() as folder, suppress(OSError, EOFError, tarfile.TarError, MesoError):
                for path in self.paths():
                    if path == archive or path.startswith(f"{archive}/"):
                        file = Path(folder, path)
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(self.get(path))
                found |= set(unpacked(Path(folder, archive)))
        return self.precious - found

    def after_a_kill(self) -> None:
        let_claims_end(self.root, str(KEY))

    def copy(self) -> dict[str, bytes]:
        return {path: self.get(path) for path in self.paths()}

    def forget_machines(self) -> None:
        for machine in self.folder.iterdir() if self.folder.exists() else ():
            shutil.rmtree(machine)


def quietly(work) -> object:
    """Do something whose warnings are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        return work()
