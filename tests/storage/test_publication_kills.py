"""A publication killed before any step that changes the disk leaves the previous version or the new one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kills import killed_at

from meso_core.storage import Basis, MadeBy, Staging, load_manifest, publish, verify_manifest

pytestmark = pytest.mark.usefixtures("no_flushing")

Files = Mapping[str, bytes]
FEW: Files = {"alf/a": b"old", "alf/b": b"old!", "alf/gone": b"x", "suite2p/plane0/c": b"same"}
OTHERS: Files = {"alf/a": b"new", "alf/b": b"newer", "alf/FOV_00/deep/d": b"d", "suite2p/plane0/c": b"same"}
MANY: Files = {f"alf/FOV_{i:02}/{name}": f"{name} {i}".encode() for i in range(8) for name in "abc"}
#: Before and after.
CASES = {
    "first": ({}, FEW),
    "again": (FEW, OTHERS),
    "the same": (FEW, FEW),
    "all others": (FEW, MANY),
    "fewer": (MANY, FEW),
}
#: More steps than any of these has.
LAST = 2000


def published(session: Path, files: Files, run: str) -> None:
    load_manifest(session, "rois")
    staging = Staging(session, "rois")
    for path, content in files.items():
        staging.write(path, content)
    publish(session, staging.seal(), Basis("1"), MadeBy(run), places=r"alf/.+|suite2p/.+")


def found(session: Path) -> Files:
    below = (p for p in session.rglob("*") if p.is_file() and ".meso" not in p.parts)
    return {p.relative_to(session).as_posix(): p.read_bytes() for p in below}


def goes_on(session: Path, old: Files, new: Files) -> None:
    """See which version is there, whole, and publish the new one again."""
    manifest = load_manifest(session, "rois")
    assert found(session) == (old if manifest is None or manifest.made_by.run_id == "old" else new)
    if manifest is not None:
        assert verify_manifest(session, manifest) == ()
    published(session, new, "again")
    assert found(session) == new
    assert not list(session.rglob("*.part*"))
    assert not list((session / ".meso" / "manifests").glob(".*"))


def sweep(prepared: Path, work: Callable[[Path], object], old: Files, new: Files, tried: Any, every: int) -> int:
    for step in range(1, LAST, every):
        session = Path(shutil.copytree(prepared, prepared.with_name("001"), copy_function=shutil.copy2))
        try:
            if not killed_at(step, lambda session=session: work(session)):  # type: ignore[misc]
                return step
            tried("kills at system calls: publication")
            goes_on(session, old, new)
        finally:
            shutil.rmtree(session)
    pytest.fail("more steps than were tried")


def prepare(tmp_path: Path, old: Files) -> Path:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    if old:
        published(prepared, old, "old")
    return prepared


@pytest.mark.parametrize(
    "every", [pytest.param(17, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("case", CASES)
def test_a_killed_publication_leaves_one_version_and_the_next_one_makes_the_same(
    tmp_path: Path, case: str, every: int, tried: Any
) -> None:
    old, new = CASES[case]
    prepared = prepare(tmp_path, old)
    assert sweep(prepared, lambda session: published(session, new, "new"), old, new, tried, every) > 20


@pytest.mark.parametrize(
    "every", [pytest.param(23, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)
def test_whoever_finishes_a_killed_publication_may_be_killed_too(tmp_path: Path, every: int, tried: Any) -> None:
    prepared = prepare(tmp_path, FEW)
    for step in range(1, LAST, 4):  # it stays pending for longer than that
        half = Path(shutil.copytree(prepared, tmp_path / "half", copy_function=shutil.copy2))
        assert killed_at(step, lambda half=half: published(half, MANY, "new")), "it never was pending"  # type: ignore[misc]
        if list((half / ".meso" / "manifests").glob(".*.pending.json")):
            break
        shutil.rmtree(half)
    assert sweep(half, lambda session: load_manifest(session, "rois"), FEW, MANY, tried, every) > 20
