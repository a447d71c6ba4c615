"""Each error of the room, met as a person meets it: what its remedy says leads to a result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meso_core.errors import MesoError
from meso_core.session import (
    DESCRIPTION,
    ListedFile,
    RawFiles,
    RawKind,
    SessionKey,
    daq_folder,
    find_sessions,
    imaging_bouts,
    raw_tifs,
    read_description,
)

KEY = SessionKey.parse("SP1/2023-03-03/001")
BOUT, TIF = "raw_imaging_data_00", "raw_imaging_data_00/x_00001.tif"


@dataclass(frozen=True)
class Case:
    """What is wrong with a root of one session, what the message says, doing it, and what is tried."""

    spoil: Callable[[Path], Any]
    says: str
    follow: Callable[[Path], Any]
    attempt: Callable[[Path], Any]


def folder(root: Path) -> Path:
    return root / str(KEY)


def daq(root: Path) -> Path:
    files = [
        ListedFile(path.relative_to(folder(root)).as_posix(), path.stat().st_size, 0)
        for path in folder(root).glob("raw_*/_timeline_*")
    ]
    return daq_folder(RawFiles(RawKind.DAQ, folder(root), tuple(files)))


def two_recordings(root: Path) -> None:
    for name in ("raw_sync_data", "raw_timeline_data"):
        (folder(root) / name).mkdir()
        (folder(root) / name / "_timeline_DAQdata.raw.npy").touch()


def broken_description(root: Path) -> None:
    (folder(root) / DESCRIPTION).write_text("devices: [")


def again(root: Path) -> Path:
    """Where a person's corrected name of something is kept."""
    return root.with_name("again")


CASES = {
    "a key that is none": Case(
        lambda root: again(root).write_text("SP1-2023-03-03"),
        "Name the session as in SP035/2023-03-03/001",
        lambda root: again(root).write_text(str(KEY)),
        lambda root: SessionKey.parse(again(root).read_text()),
    ),
    "two folders of one session": Case(
        lambda root: shutil.copytree(folder(root), folder(root).with_name("1")),
        "give it another number",
        lambda root: folder(root).with_name("1").rename(folder(root).with_name("2")),
        lambda root: KEY.folder(root),
    ),
    "no such session": Case(
        lambda root: again(root).write_text("SP2/2023-03-03/001"),
        "name a session that `meso status` lists",
        lambda root: again(root).write_text(str(find_sessions(root)[0])),
        lambda root: imaging_bouts(root / again(root).read_text()),
    ),
    "a folder named like a tif": Case(
        lambda root: (folder(root) / BOUT / "y.tif").mkdir(),
        "move this out of the bout",
        lambda root: (folder(root) / BOUT / "y.tif").rename(again(root)),
        lambda root: raw_tifs(folder(root) / BOUT),
    ),
    "a link to nothing": Case(
        lambda root: (folder(root) / BOUT / "y.tif").symlink_to(again(root)),
        "Bring the tif back",
        lambda root: again(root).touch(),
        lambda root: raw_tifs(folder(root) / BOUT),
    ),
    "a description that is damaged": Case(
        broken_description,
        "If the rig's is the same, move it away",
        lambda root: (folder(root) / DESCRIPTION).rename(again(root)),
        lambda root: [read_description(folder(root))],
    ),
    "two recordings of the DAQ": Case(
        two_recordings,
        "move the other folder out of the session",
        lambda root: (folder(root) / "raw_timeline_data").rename(again(root)),
        daq,
    ),
    "no root": Case(
        lambda root: root.rename(again(root)),
        "Set MESO_ROOT to the folder that holds the subjects",
        lambda root: again(root).rename(root),
        find_sessions,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_following_the_remedy_leads_to_a_result(tmp_path: Path, name: str) -> None:
    root, case = tmp_path / "Subjects", CASES[name]
    (folder(root) / BOUT).mkdir(parents=True)
    (folder(root) / TIF).touch()
    case.spoil(root)
    with pytest.raises(MesoError) as caught:
        case.attempt(root)
    assert case.says in str(caught.value)
    case.follow(root)
    assert case.attempt(root)


def test_a_folder_that_may_not_be_read_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", forbidden)
        with pytest.raises(MesoError, match="Give the platform's user the right to read it, or mount its disk"):
            raw_tifs(tmp_path)
    assert raw_tifs(tmp_path) == ()
