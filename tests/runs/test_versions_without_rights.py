"""Earlier versions of results, handled by somebody who may not write in the session, or not look into it."""

from __future__ import annotations

import dagster as dg
import pytest

from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import MesoSettings
from meso_assets.runs.versions import cleaned, listed, restored
from meso_core.errors import StorageError

KEY = "SP035/2023-03-03/001"
VERSION = "a" * 64


DO = {
    "listed": lambda session, _: listed(session),
    "restored": lambda session, instance: restored(session, "frame_qc", VERSION, instance),
    "cleaned": lambda session, _: cleaned(session, (), 0),
}


@pytest.mark.parametrize("closed", ["", ".meso", ".meso/versions", ".meso/versions/frame_qc"])
@pytest.mark.parametrize("what", DO)
def test_a_session_that_is_closed_to_the_user_is_named_and_keeps_its_versions(
    others_folder, another_user, what, closed
):
    path = others_folder / "Subjects" / KEY
    version = path / ".meso" / "versions" / "frame_qc" / VERSION
    version.mkdir(parents=True)
    if closed:
        (path / ".meso").chmod(0o777)  # to claim is allowed
        (path / closed).chmod(0)
    session = Platform.open(MesoSettings(root=others_folder / "Subjects", home=others_folder)).session(KEY)
    with dg.DagsterInstance.ephemeral() as instance, another_user():
        if not closed and what == "listed":
            assert [version.data_version for version in listed(session)["frame_qc"]] == [VERSION], "one may look"
        else:
            with pytest.raises(StorageError, match=r"\.meso.*Permission denied.*Check the permissions"):
                DO[what](session, instance)
    (path / closed).chmod(0o755)
    assert version.is_dir()
