"""Fixtures that all tests share: real data, the peer, a simulated session.

What a test needs but a machine may lack (the real data, the peer's environment, a browser) skips the test and says so;
where ``MESO_TEST_STRICT`` is set, as in continuous integration, it fails instead.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from attack_records import INTO, Record, summed, write
from ordinary_user import ignores_rights

#: Fixtures of real servers and of network shares, for whoever asks for them.
pytest_plugins = ["tests.postgres", "tests.real_servers", "tests.share"]

REPOSITORY = Path(__file__).resolve().parents[1]

#: Files whose tests use what was processed once, which takes a minute; all others share nothing beyond their file.
TOGETHER = {
    "test_alyx_from_the_platform": "finished",
    "test_lineage_of_a_session": "finished",
    "test_one_truth": "finished",
    "test_remote_roots": "finished",
    "test_session_from_folder_to_alf": "finished",
    "test_session_report": "finished",
    "test_what_people_do_afterwards": "finished",
    "test_export": "processed",
    "test_process": "processed",
    "test_fields_left_out": "three fields",
    "test_one_field_fails": "three fields",
    "test_ratings_that_do_not_fit": "three fields",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give whole files to the workers, in the order in which they are collected, and some files to the same worker."""
    from xdist.scheduler import LoadScopeScheduling

    class WholeFiles(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return TOGETHER.get(Path(file).stem, file)

    config.option.loadscopereorder = False
    return WholeFiles(config, log)


def unavailable(what: str, remedy: str) -> NoReturn:
    """Skip a test for want of ``what``, or fail it where everything must be there."""
    message = f"{what} is not there: {remedy}"
    if os.environ.get("MESO_TEST_STRICT"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(autouse=True)
def _own_dagster_home() -> Iterator[None]:
    """Opening an instance names its home in the environment; what one test names must not reach the next."""
    # nor what a fixture of the module named before this: the fixtures of the next module would open that home
    os.environ.pop("DAGSTER_HOME", None)
    yield
    os.environ.pop("DAGSTER_HOME", None)


@pytest.fixture(autouse=True)
def _spare_some_processes_the_measurement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in processes that are killed, for they leave none, nor in those whose loading is timed."""
    if "kill" in request.node.name or "import_budget" in request.node.nodeid:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def others_folder() -> Iterator[Path]:
    """Folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="meso-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def another_user() -> Callable[[], AbstractContextManager[None]]:
    """``with another_user():`` somebody else than root, who may write everywhere, runs the block."""

    @contextmanager
    def somebody_else() -> Iterator[None]:
        if not ignores_rights():
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return somebody_else


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real ScanImage files, headers, movies and the real atlas."""
    folder = Path(os.environ.get("MESO_REAL_DATA", REPOSITORY.parent / "shared" / "realdata"))
    if not folder.is_dir():
        unavailable("the folder of real data", "set MESO_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Python of an environment that holds ibllib 4.0.0, for parity tests in a process of its own."""
    python = Path(os.environ.get("MESO_PEER_PYTHON", REPOSITORY / ".venv-peer" / "bin" / "python"))
    if not python.exists():
        unavailable("the environment with ibllib 4.0.0", "make peer, or set MESO_PEER_PYTHON")
    return python


@pytest.fixture(scope="session")
def tiny_session(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Simulated session of the ``tiny`` preset, made once; tests must not change it."""
    from meso_core.simulate import preset, simulate_session

    return simulate_session(tmp_path_factory.mktemp("tiny") / "Subjects", preset("tiny"))


@pytest.fixture
def fresh_session(tmp_path: Path) -> Callable[..., Any]:
    """Make a simulated session of the ``tiny`` preset that a test may spoil; ``faults`` spoil it from the start."""

    def make(faults: tuple[str, ...] = ()) -> Any:
        from meso_core.simulate import preset, simulate_session

        return simulate_session(tmp_path / "Subjects", preset("tiny"), faults=faults)

    return make


@pytest.fixture(scope="module")
def without_workers() -> Iterator[None]:
    """Let the steps of a session register and detect in this process; see ``in_this_process``."""
    from tests.in_this_process import process_here

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meso_core.imaging.session.process_fovs", process_here)
        yield


@pytest.fixture
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush nothing to the disk: a test of hundreds of states would wait for it most of its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``tried("kills: of a step", 12)`` counts what a test tries, for the table at the end; see ``attack_records``.

    All of it survives where the test passes. What a test sums up itself it tells with ``failures``.
    """

    def count(row: str, times: int = 1, failures: Sequence[str] | None = None) -> None:
        request.node.user_properties.append(("tried", (row, times, failures)))

    return count


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where attacks alone are wanted, leave out all else, and those that a nightly test makes too."""
    if os.environ.get(INTO):
        is_attack = {
            item: "tried" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("sample")
            for item in items
        }
        config.hook.pytest_deselected(items=[item for item in items if not is_attack[item]])
        items[:] = [item for item in items if is_attack[item]]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add what a test tried to the file that the environment names, test by test."""
    if (file := os.environ.get(INTO)) and not os.environ.get("PYTEST_XDIST_WORKER"):
        for record in told_by(report):
            write(Path(file), record)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how often what was tried, and what did not survive."""
    stats = terminalreporter.stats
    reports = (*stats.get("passed", ()), *stats.get("failed", ()))
    if rows := summed(record for report in reports for record in told_by(report)):
        terminalreporter.section("tried and survived")
        for row in rows.values():
            terminalreporter.line(f"{row.row:<48}{row.tried:>8} tried{row.tried - row.lost:>8} survived")
            for failure in row.failures:
                terminalreporter.line(f"    {failure}")


def told_by(report: Any) -> Iterator[Record]:
    """Records of what one test tried."""
    if getattr(report, "when", "") != "call":
        return
    for name, value in report.user_properties:
        if name == "tried":
            row, times, failures = value
            if failures is None:
                why = "" if report.passed else report.longreprtext.strip().splitlines()[-1]
                failures, lost = ([f"{report.nodeid}: {why}"], times) if why else ([], 0)
            else:
                lost = min(len(failures), times)
            yield Record(row, times, tuple(failures), lost)
