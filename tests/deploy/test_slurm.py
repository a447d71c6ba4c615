"""Sessions on a real SLURM cluster come to the bytes that they have on one machine, whatever happens to the jobs."""

import pytest

from tests.integration.killed_runs import QUICK, ground


@pytest.fixture(scope="module")
def session(slurm):
    """A session that was run undisturbed on this machine, and is run on the cluster from then on."""
    with pytest.MonkeyPatch.context() as patch, ground("in_process", QUICK) as made:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        made.warm.close()
        made.warm, made.executor = None, "slurm"
        yield made


def test_a_session_on_a_cluster_has_the_bytes_of_one_machine(session, slurm):
    session.renew()
    assert session.start().wait(200) == 0, session.log()
    assert session.files() == session.want
    assert session.left() == session.held() == []
    assert slurm.jobs("PENDING", "RUNNING") == {}
