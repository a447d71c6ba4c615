"""Real schedulers for tests, each started once where a test asks for it."""

import tempfile
from pathlib import Path

import pytest

from tests.deploy.slurm_cluster import slurm_cluster


@pytest.fixture(scope="session")
def slurm():
    """A SLURM cluster of two nodes on this machine; sockets want a short path."""
    with (
        tempfile.TemporaryDirectory(prefix="meso-slurm-", ignore_cleanup_errors=True) as folder,
        slurm_cluster(Path(folder)) as cluster,
    ):
        yield cluster
