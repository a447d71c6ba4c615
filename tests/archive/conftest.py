"""A session's raw folders that a test may spoil, and disks that are full or read-only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archive_processed import publish_archives
from archive_programs import needs

from meso_core.archive import archive_bout, save_report
from meso_core.archive.codec import lbzip2 as external
from meso_core.session import imaging_bouts
from meso_core.simulate import preset, simulate_session
from tests.short_session import short
from tests.small_disk import small_disk


@pytest.fixture(scope="session")
def tiny_session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A shorter one than others have: it is packed and unpacked a hundred times. Tests must not change it."""
    return simulate_session(tmp_path_factory.mktemp("short") / "Subjects", short())


@pytest.fixture(scope="session")
def archived_short(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sessions of three small tifs in two bouts, archived in each format; tests copy them."""
    tiny = preset("tiny")
    rois = tuple(
        replace(r, shape=(16, 32), size_deg=(r.size_deg[0] / 3, r.size_deg[1] * 16 / r.shape[0])) for r in tiny.rois
    )
    config = replace(tiny, rois=rois, frames_per_bout=(12, 6), frames_per_file=6)
    raw = simulate_session(tmp_path_factory.mktemp("short") / "Subjects", config).session_path
    made = {}
    for archive_format in ("tar.bz2", "zarr"):
        session = made[archive_format] = tmp_path_factory.mktemp(archive_format) / "001"
        for bout in imaging_bouts(raw):
            shutil.copytree(bout, session / bout.name)
            save_report(session, archive_bout(session / bout.name, archive_format=archive_format))  # type: ignore[arg-type]
        publish_archives(session)
    return made


@pytest.fixture
def session(tiny_session: Any, tmp_path: Path) -> Path:
    """Copy of the two bouts of the simulated session; no pipeline ran on it."""
    target = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001"
    for bout in ("raw_imaging_data_00", "raw_imaging_data_01"):
        shutil.copytree(tiny_session.session_path / bout, target / bout)
    return target


@pytest.fixture
def bout(session: Path) -> Path:
    """First bout of the session."""
    return session / "raw_imaging_data_00"


@pytest.fixture(params=["threads", "lbzip2"])
def either_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read archives with threads of this process, then with the program lbzip2."""
    if request.param == "lbzip2":
        needs("lbzip2")
    else:
        monkeypatch.setattr(external, "PROGRAM", "a program that is nowhere")


@pytest.fixture
def disk(tmp_path: Path) -> Callable[..., AbstractContextManager[Path]]:
    """Mount a small disk: ``with disk("size=1m") as folder``."""
    return lambda options, at=tmp_path / "disk": small_disk(at, options)
