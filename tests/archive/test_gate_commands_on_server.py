"""The commands and the daily job that remove raw tifs and bring them back, where the session lies on a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from server_scene import KEY, ServerScene

from meso_assets.cli import group
from meso_assets.defs.removal import removal
from meso_assets.defs.running.remote_claims import claims_of
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from tests.remote_roots import new_root

pytestmark = pytest.mark.usefixtures("no_flushing")
OVERRIDE = ("--who", "Ada", "--why", "a test")


@pytest.fixture
def scene(request, archived_short: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerScene:
    root = new_root("s3", request, monkeypatch)
    for name, value in {"ROOT": root.url, "HOME": tmp_path / "home", "SCRATCH": tmp_path / "scratch"}.items():
        monkeypatch.setenv(f"MESO_{name}", str(value))
    return ServerScene.of(root, archived_short["tar.bz2"], tmp_path / "others")


@pytest.fixture
def meso() -> Callable[..., str]:
    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(group, [*arguments])
        assert ran.exit_code == 0, ran.output
        return ran.output

    return run


def test_tifs_are_removed_listed_freed_and_restored(scene, meso):
    key, n = str(KEY), len(scene.tifs)
    assert meso("remove-raw", key, *OVERRIDE).count("remove    raw_imaging_data") == n
    assert scene.at_their_places() == scene.tifs
    told = meso("remove-raw", key, *OVERRIDE, "--yes")
    assert told.count("removed   raw_imaging_data") == n
    assert told.count("may be freed from 20") == n
    assert scene.at_their_places() == {}
    assert meso("remove-raw").count("may be freed from 20") == n
    assert "freed " not in meso("remove-raw", "--yes"), "none is due"
    assert meso("restore", key).count("put back") == n
    assert scene.at_their_places() == scene.tifs
    assert "compared with their archives again" in meso("remove-raw", key, *OVERRIDE, "--yes", "--now")
    assert scene.paths(".meso/removed") == ()
    assert meso("restore", key).count("MB  restored") == n
    assert scene.at_their_places() == scene.tifs
    assert scene.left_overs() == []


def test_without_an_override_it_says_what_closes_the_gate_and_names_the_server(scene):
    ran = CliRunner().invoke(group, ["remove-raw", str(KEY), "--yes"])
    assert ran.exit_code != 0
    assert f"{scene.root.url}/{KEY}: expected an open gate" in str(ran.exception) + ran.output
    assert "meso-gate" not in str(ran.exception) + ran.output
    assert scene.at_their_places() == scene.tifs


def test_the_daily_job_frees_what_is_due_and_waits_for_no_run(scene, monkeypatch):
    scene.remove()
    monkeypatch.setenv("MESO_REMOVED_KEPT_DAYS", "0")
    platform = Platform.open(load_settings())
    at_work = claims_of(platform.session(str(KEY)), "a run")
    assert at_work.take(["motion_registered_frames"]) == ()
    ((_, in_doubt),) = removal.sweep(platform)
    assert "motion_registered_frames is made by run a run" in str(in_doubt)
    assert len(scene.kept()) == len(scene.tifs)
    at_work.give_all_back()
    assert removal.free_removed_tifs.execute_in_process(resources={"platform": platform}).success
    assert scene.kept() == ()
    assert not scene.lost()


def test_a_run_waits_while_tifs_are_removed(scene, meso, monkeypatch):
    found = []
    real = removal.remove

    def removing(session, plan, progress):
        found.extend(claims_of(session, "a run").take(["motion_registered_frames"]))
        return real(session, plan, progress)

    monkeypatch.setattr(removal, "remove", removing)
    meso("remove-raw", str(KEY), *OVERRIDE, "--yes")
    assert str(found[0]).startswith("motion_registered_frames is kept by `meso remove-raw`, process ")
