"""A loss of power at any step of a publication leaves the previous version or the new one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from power_loss import watched, write_tree

from meso_core.errors import StorageError
from meso_core.storage import Basis, MadeBy, Staging, load_manifest, publish, verify_manifest

pytestmark = pytest.mark.usefixtures("no_flushing")

OLD = {"alf/a": b"old", "alf/b": b"old!", "alf/gone": b"x", "suite2p/plane0/c": b"same"}
NEW = {"alf/a": b"new", "alf/b": b"newer", "alf/FOV_00/deep/d": b"d", "suite2p/plane0/c": b"same"}


def published(session: Path, files: dict[str, bytes], run: str) -> None:
    load_manifest(session, "rois")
    staging = Staging(session, "rois")
    for path, content in files.items():
        staging.write(path, content)
    publish(session, staging.seal(), Basis("1"), MadeBy(run), places=r"alf/.+|suite2p/.+")


@pytest.mark.parametrize("first", [True, False])
def test_the_previous_version_or_the_new_one_is_whole(tmp_path: Path, tried: Any, first: bool) -> None:
    session = tmp_path / "001"
    session.mkdir()
    if not first:
        published(session, OLD, "old")
    with watched(session) as disk:
        published(session, NEW, "new")
    tried("losses of power: publication", len(disk.states))
    found = set()
    for number, tree in enumerate(disk.states):
        left = write_tree(tree, tmp_path / str(number))
        found.add(whole_version(left, number))
        published(left, NEW, "again")  # goes on
        assert whole_version(left, number) == "again"
        shutil.rmtree(left)
    assert found == {None if first else "old", "new"}


def whole_version(session: Path, number: int) -> str | None:
    """Run whose files are there, all of them."""
    try:
        manifest = load_manifest(session, "rois")
    except StorageError:  # it cannot be finished, and says so; then the previous one counts
        manifest = load_manifest(session, "rois")
    if manifest is None:
        return None
    assert verify_manifest(session, manifest) == (), f"state {number}: a manifest of {manifest.made_by.run_id}"
    return manifest.made_by.run_id
