"""A whole session, simulated and processed once by the command line, for all tests that look at the result."""

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.definitions import build_defs
from meso_assets.io.resources import Platform
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings.settings import MesoSettings, load_settings
from meso_core.errors import MesoWarning
from meso_core.session import SessionKey
from meso_core.storage import Session, hash_file
from tests.warm_start import Warm

pytest.register_assert_rewrite("tests.integration.staleness")


@dataclass(frozen=True)
class Finished:
    """A processed session."""

    settings: MesoSettings
    key: SessionKey
    #: What `meso run` printed.
    printed: str
    #: Path of each file that the rig left, relative to the session, and its hash before the run.
    raw: dict[str, str]

    @property
    def session(self) -> Session:
        return Platform.open(self.settings).session(str(self.key))

    def meso(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return loaded_meso(self.settings, *arguments)


def _environment(settings: MesoSettings) -> dict[str, str]:
    environment = {**os.environ, **settings.as_environment()}
    for name in ("DAGSTER_HOME", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    return environment


def run_meso(settings: MesoSettings, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own."""
    environment = _environment(settings)
    command = [sys.executable, "-c", "from meso_assets.cli import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


#: Environment → a process that has meso loaded in it; the last two that were asked for.
_LOADED: dict[tuple[tuple[str, str], ...], Warm] = {}


def loaded_meso(settings: MesoSettings, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Call the command line in a process of its own that need not load it: a test that calls it often waits less."""
    environment = _environment(settings)
    key = tuple(sorted(environment.items()))
    _LOADED[key] = _LOADED.pop(key, None) or Warm(environment)
    while len(_LOADED) > 2:
        _LOADED.pop(next(iter(_LOADED))).close()
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        code = _LOADED[key].start(arguments, out, errors=errors).wait(timeout)
        return subprocess.CompletedProcess([*arguments], code, out.read_text(), errors.read_text())


@pytest.fixture(scope="session", autouse=True)
def _loaded_ends() -> Iterator[None]:
    """End what has meso loaded."""
    yield
    while _LOADED:
        _LOADED.popitem()[1].close()


def settings_in(folder: Path, **changes: object) -> MesoSettings:
    """Everything in one folder, and the made-up brain."""
    places = {"root": folder / "sessions", "home": folder / "home", "cache": folder / "cache"}
    return load_settings({**places, "atlas": "phantom", "atlas_resolution_um": 50, **changes})


@pytest.fixture(scope="session")
def make_settings():
    """Function that makes settings with everything in one folder: ``make_settings(folder, **changes)``."""
    return settings_in


@pytest.fixture(scope="session")
def materialise():
    """Function that makes assets of a session in this process: ``materialise(instance, settings, key, assets)``."""

    def run(instance, settings, key, assets, **config):
        defs = build_defs(settings.model_copy(update={"executor": "in_process"}))
        (name,) = register_sessions(instance, Platform.open(settings), [SessionKey.parse(str(key))]).values()
        return defs.resolve_job_def("process_session").execute_in_process(
            instance=instance,
            partition_key=name,
            asset_selection=[dg.AssetKey(name) for name in assets],
            run_config={"loggers": {"readable": {}}, **config},
            raise_on_error=False,
        )

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Session of the tiny preset below ``lab/Subjects``, every asset made by ``meso run``."""
    from meso_core.simulate import preset, simulate_session

    settings = settings_in(tmp_path_factory.mktemp("finished"))
    made = simulate_session(settings.root, replace(preset("tiny"), lab="lab"))
    files = [file for file in sorted(made.session_path.rglob("*")) if file.is_file()]
    raw = {file.relative_to(made.session_path).as_posix(): hash_file(file).sha256 for file in files}
    ran = run_meso(settings, "run", str(made.key), timeout=900)  # a busy machine takes its time
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    return Finished(settings, made.key, ran.stdout, raw)


@pytest.fixture(scope="session")
def three_depths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root with a recording of one ROI at three depths, 60 frames of each; tests copy it."""
    from meso_core.simulate import preset, simulate_session

    config = preset("tiny")
    config = replace(config, rois=config.rois[:1], zs=(200.0, 245.0, 290.0), frames_per_bout=(180,))
    return simulate_session(tmp_path_factory.mktemp("three") / "sessions", config).session_path.parents[2]


@pytest.fixture(scope="session")
def three_done(three_depths, tmp_path_factory, make_settings, materialise) -> Session:
    """That session as it is made where nothing fails and nothing is left out; tests copy it."""
    from tests.in_this_process import process_here
    from tests.integration.three_fields import ASSETS, KEY

    settings = make_settings(tmp_path_factory.mktemp("done"))
    shutil.copytree(three_depths, settings.root)
    with (
        dg.DagsterInstance.ephemeral() as once,
        warnings.catch_warnings(),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("meso_core.imaging.session.process_fovs", process_here)
        warnings.simplefilter("ignore", MesoWarning)
        assert materialise(once, settings, KEY, ASSETS).success
    return Platform.open(settings).session(KEY)


@pytest.fixture
def copied(three_done, tmp_path, make_settings):
    """A copy of the session as it is made where nothing fails, with its settings."""
    settings = make_settings(tmp_path)
    shutil.copytree(three_done.path.parents[2], settings.root)
    return settings, Platform.open(settings).session("SP035/2023-03-03/001")
