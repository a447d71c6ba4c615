"""Sessions by pods come to the bytes that they have on one machine, whatever happens to the pods; on a stand-in."""

import signal
import time
from contextlib import contextmanager

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_core.simulate import preset
from tests.deploy.kubernetes_stand_in import TOKEN, Cluster
from tests.integration.killed_runs import QUICK, ground

_N_FOVS = len(preset("tiny").rois)
#: What becomes of the first pod of each step.
FATES = [
    {},
    {"imaging_metadata": ["OOMKilled"], "frame_qc": ["Evicted"]},
    {"imaging_metadata": ["Gone"], "frame_qc": ["DeletionByTaintManager"]},
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@contextmanager
def by_pods(cluster, executor, assets):
    """A session that was run undisturbed on this machine, and is run by pods from then on."""
    with ground(executor, assets) as made:
        made.warm.close()
        made.warm, made.executor = None, "k8s"
        made.more = {"KUBECONFIG": str(cluster.config), "MESO_K8S_IMAGE": "meso:1.2.3"}
        yield made


@pytest.fixture(scope="module")
def session(cluster):
    with by_pods(cluster, "in_process", QUICK) as made:
        yield made


@pytest.fixture(scope="module")
def all_assets(cluster):
    """A session of which everything is made, in processes of their own on this machine."""
    with by_pods(cluster, "multiprocess", ()) as made:
        yield made


def begun_as_jobs(cluster):
    """Steps of the jobs that were made, with the memory that each was given, MiB."""
    found = {}
    for job in cluster.made:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        found.setdefault(job["metadata"]["labels"]["meso/asset"], []).append(memory)
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("fates", FATES, ids=lambda fates: "+".join(one for many in fates.values() for one in many))
def test_a_session_by_pods_has_the_bytes_of_one_machine_whatever_happens_to_them(session, cluster, fates, tried):
    session.renew()
    cluster.made.clear()
    cluster.fates = {asset: [*many] for asset, many in fates.items()}
    assert session.start().wait(300) == 0, session.log()
    assert session.files() == session.want
    assert session.left() == session.held() == []
    made = begun_as_jobs(cluster)
    for asset in QUICK:
        assert len(made[asset]) == 1 + len(fates.get(asset, []))
        twice = 2 if "OOMKilled" in fates.get(asset, []) else 1
        assert made[asset][-1] == pytest.approx(twice * made[asset][0], abs=1)
    assert TOKEN not in session.whole_log()
    if fates:
        tried("clusters: Kubernetes (a stand-in), the pod of a step is lost", sum(map(len, fates.values())))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_all_assets_by_pods_have_the_bytes_of_one_machine_though_pods_of_fields_of_view_are_lost(
    all_assets, cluster, tried
):
    all_assets.renew()
    cluster.made.clear()
    cluster.fates = {"motion_registered_frames": ["", "Evicted"], "rois": ["", "OOMKilled"]}
    assert all_assets.start().wait(1200) == 0, all_assets.log()
    assert all_assets.files() == all_assets.want
    assert all_assets.left() == all_assets.held() == []
    made = begun_as_jobs(cluster)
    assert set(CATALOGUE) <= set(made)
    for asset, lost in cluster.fates.items():
        assert lost == [], "the pod was lost as it was to be"
        assert len(made[asset]) == 1 + _N_FOVS + 1 + 1, "cut or begin, each field of view, one of them again, publish"
    tried("clusters: Kubernetes (a stand-in), the pod of a field of view is lost, in suite2p", 2)


@pytest.mark.nightly
def test_a_run_that_is_stopped_leaves_no_pod(session, cluster, tried):
    session.renew()
    cluster.made.clear()
    cluster.fates = {}
    run = session.start()
    until = time.monotonic() + 200
    while not cluster.made and time.monotonic() < until:
        time.sleep(0.05)
    assert cluster.made, session.log()
    run.send_signal(signal.SIGINT)
    run.wait(120)
    assert all(process.wait(60) is not None for process in cluster.processes.values())
    assert session.start().wait(300) == 0, session.log()
    assert session.files() == session.want
    tried("clusters: Kubernetes (a stand-in), somebody stops the run")
