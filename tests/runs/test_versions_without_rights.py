"""Earlier versions of results, handled by somebody who may not write in the session."""

from __future__ import annotations

import dagster as dg
import pytest

from meso_assets.io.resources import Platform
from meso_assets.runs.settings import MesoSettings
from meso_assets.runs.versions import cleaned, restored
from meso_core.errors import StorageError

KEY = "SP035/2023-03-03/001"
VERSION = "a" * 64


@pytest.mark.parametrize("what", ["restored", "cleaned"])
def test_a_session_in_which_one_may_not_write_is_named_and_keeps_its_versions(others_folder, another_user, what):
    version = others_folder / "Subjects" / KEY / ".meso" / "versions" / "frame_qc" / VERSION
    version.mkdir(parents=True)
    session = Platform.open(MesoSettings(root=others_folder / "Subjects", home=others_folder)).session(KEY)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        another_user(),
        pytest.raises(StorageError, match=r"\.meso.*Permission denied.*Check the permissions"),
    ):
        restored(session, "frame_qc", VERSION, instance) if what == "restored" else cleaned(session, (), 0)
    assert version.is_dir()
