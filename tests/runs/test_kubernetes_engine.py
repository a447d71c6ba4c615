"""What Kubernetes is asked for, what its refusals mean, and what becomes of a step whose pod is over; on a stand-in."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.dagster_internals.delegating import StepOrder
from meso_assets.io.session_names import PARTITION_TAG
from meso_assets.runs.engines.checks import check_engine
from meso_assets.runs.engines.kubernetes_api import PodOrder, job_of_step
from meso_assets.runs.executors.compatibility import Sameness
from meso_assets.runs.executors.kubernetes import engine as module
from meso_assets.runs.executors.kubernetes.engine import OURS_LABEL, RUN_LABEL, KubernetesEngine
from meso_assets.runs.executors.kubernetes.step import ORDER, main
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import EngineError, SettingsError
from meso_core.imaging import StepNeeds
from meso_core.session import SessionKey
from tests.deploy.kubernetes_stand_in import TOKEN, Cluster

NEEDS = StepNeeds(2, 4.0, False, 30)
STEP = "rois.find_rois[FOV_00]"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A stand-in whose pods do nothing by themselves."""
    monkeypatch.setattr(Cluster, "_run", lambda *_: None)
    with Cluster(tmp_path / "cluster") as made:
        monkeypatch.setenv("KUBECONFIG", str(made.config))
        yield made


@pytest.fixture
def settings(tmp_path):
    places = {"root": tmp_path / "Subjects", "home": tmp_path / "home", "cache": tmp_path / "cache"}
    return load_settings({**places, "atlas": "phantom", "executor": "k8s", "k8s_image": "meso:1.2.3"})


def changed(settings, **changes):
    return settings.model_copy(update=changes)


REFUSALS = [
    ({"k8s_image": ""}, {}, SettingsError, "MESO_K8S_IMAGE.*Build one"),
    ({"k8s_namespace": "other"}, {}, SettingsError, 'MESO_K8S_NAMESPACE.*404 namespaces "other" not found.*make it'),
    ({"k8s_service_account": "nobody"}, {}, SettingsError, "MESO_K8S_SERVICE_ACCOUNT.*get serviceaccounts"),
    ({"k8s_step": {"pod_spec_config": {"nodeSelektor": {}}}}, {}, SettingsError, "MESO_K8S_STEP.*nodeSelektor"),
    ({}, {"may": set()}, EngineError, 'the right to POST jobs.*cannot create resource "jobs".*role'),
    ({}, {"down": 503}, EngineError, "an answer to POST jobs, found 503.*wait until the cluster is back"),
    (
        {},
        {"refuses_pods": (403, "Forbidden", 'pods "x" is forbidden: violates PodSecurity "restricted:latest"')},
        SettingsError,
        "MESO_K8S_STEP.*violates PodSecurity",
    ),
]


@pytest.mark.parametrize(("chosen", "of_cluster", "error", "told"), REFUSALS)
def test_a_refusal_is_told_with_what_to_change_before_anything_is_made(
    cluster, settings, chosen, of_cluster, error, told
):
    check_engine(settings)
    for name, value in of_cluster.items():
        setattr(cluster, name, value)
    with pytest.raises(error, match=told) as found:
        check_engine(changed(settings, **chosen))
    assert TOKEN not in str(found.value)
    assert cluster.made == []


@pytest.mark.parametrize(
    ("config", "error", "told"),
    [
        ({"token": "another"}, EngineError, "a login that it knows, found 401"),
        ({"server": "http://127.0.0.1:1"}, EngineError, r"Kubernetes at http://127\.0\.0\.1:1.*an answer"),
        ({"current": "nowhere"}, SettingsError, "KUBECONFIG.*a current context.*nowhere"),
    ],
)
def test_a_configuration_with_which_no_cluster_answers_is_named(cluster, settings, config, error, told):
    cluster.write_config(**config)
    with pytest.raises(error, match=told) as found:
        check_engine(settings)
    assert "another" not in str(found.value)


def test_a_run_is_not_begun_where_there_is_no_configuration(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"KUBECONFIG.*a cluster, a user"):
        check_engine(settings)
    for name in ("root", "home", "cache"):
        monkeypatch.setenv(f"MESO_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("MESO_EXECUTOR", "k8s")
    monkeypatch.setenv("MESO_K8S_IMAGE", "meso:1.2.3")
    told = CliRunner().invoke(group, ["run", "SP035/2023-03-03/001"])
    assert "KUBECONFIG" in str(told.exception)
    assert not settings.home.exists(), "nothing was begun"


def test_what_is_not_insisted_on_does_not_keep_a_session_from_being_begun(cluster, settings):
    cluster.may.discard(("create", "pods"))
    check_engine(settings)
    cluster.may.add(("create", "pods"))
    cluster.refuses_pods = (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: lab')
    check_engine(settings)


def test_in_a_pod_its_service_account_is_the_login_and_its_namespace_the_one_of_steps(settings, monkeypatch, tmp_path):
    from kubernetes.config import incluster_config

    monkeypatch.delenv("KUBECONFIG", raising=False)

    for name, text in (("namespace", "of-the-pod\n"), ("token", TOKEN), ("ca.crt", "a certificate")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("meso_assets.runs.engines.kubernetes_api.cluster._OWN_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    for name, value in (("HOST", "10.0.0.1"), ("PORT", "443")):
        monkeypatch.setenv(f"KUBERNETES_SERVICE_{name}", value)
    with monkeypatch.context() as patch:
        patch.setattr("kubernetes.client.rest.RESTClientObject.__init__", lambda *_, **__: None)  # no such certificate
        found = module.Cluster(settings)
        assert (found.host, found.namespace) == ("https://10.0.0.1:443", "of-the-pod")
        assert module.Cluster(changed(settings, k8s_namespace="another")).namespace == "another"
    (tmp_path / "token").unlink()
    with pytest.raises(SettingsError, match=r"configuration of Kubernetes.*token"):
        module.Cluster(settings)


def test_packages_that_are_not_installed_are_named(settings, monkeypatch):
    monkeypatch.setattr("meso_assets.runs.engines.kubernetes_api.cluster.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'meso\[k8s\]'"):
        check_engine(settings)


def test_parts_that_are_none_are_refused_when_settings_are_read():
    with pytest.raises(SettingsError, match="pod_spec: parts are container_config"):
        load_settings({"k8s_step": {"pod_spec": {}}})


def body(job):
    from kubernetes.client import ApiClient

    return ApiClient().sanitize_for_serialization(job)


def test_a_pod_has_what_its_step_needs_no_root_and_what_the_lab_adds(settings):
    needs = replace(NEEDS, gpu=True)
    own = {
        "container_config": {"resources": {"limits": {"memory": "9Gi"}}, "env_from": [{"secret_ref": {"name": "db"}}]},
        "pod_spec_config": {"nodeSelector": {"disk": "ssd"}},
    }
    job = body(job_of_step(changed(settings, k8s_step=own), PodOrder("meso-x", needs, {}, {"MESO_ROOT": "/a"})))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["requests"] == {"cpu": "2", "memory": f"{-(-4 * 10**9 // 2**20)}Mi"}
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "9Gi", "nvidia.com/gpu": "1"}, "the lab wins"
    assert pod["activeDeadlineSeconds"] == 30 * 60
    assert "activeDeadlineSeconds" not in job["spec"], "to wait for a node does not count"
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert container["envFrom"] == [{"secretRef": {"name": "db"}}]
    assert {"name": "MESO_ROOT", "value": "/a"} in container["env"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] != 0
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert pod["automountServiceAccountToken"] is False
    assert job["spec"]["backoffLimit"] == 0
    assert {"name": "scratch", "emptyDir": {}} in pod["volumes"]


@pytest.fixture
def launcher(cluster):
    """What begins runs as pods, as the Helm chart sets it up."""
    from dagster_k8s import K8sRunLauncher

    parts = {
        "pod_spec_config": {
            "volumes": [{"name": "share", "persistentVolumeClaim": {"claimName": "share"}}],
            "securityContext": {"runAsUser": 1234},
        },
        "container_config": {
            "volumeMounts": [{"name": "share", "mountPath": "/share"}],
            "resources": {"limits": {"memory": "1Gi"}},
        },
    }
    return K8sRunLauncher(
        service_account_name="dagster",
        instance_config_map="dagster-instance",
        postgres_password_secret="dagster-postgresql-secret",
        dagster_home="/share/home",
        load_incluster_config=False,
        kubeconfig_file=str(cluster.config),
        env_secrets=["s3-keys"],
        run_k8s_config=parts,
    )


def test_steps_have_the_volumes_and_secrets_of_the_runs_where_dagster_begins_these_as_pods(settings, launcher):
    run = dg.DagsterRun("process_session", "run-1")
    instance = SimpleNamespace(run_launcher=launcher)
    job = body(job_of_step(settings, PodOrder("meso-x", NEEDS), instance, run))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {"name": "share", "mountPath": "/share"} in container["volumeMounts"]
    assert {"name": "share", "persistentVolumeClaim": {"claimName": "share"}} in pod["volumes"]
    assert {"secretRef": {"name": "s3-keys"}} in container["envFrom"]
    assert [e["valueFrom"]["secretKeyRef"]["name"] for e in container["env"] if e["name"] == "DAGSTER_PG_PASSWORD"] == [
        "dagster-postgresql-secret"
    ]
    assert pod["serviceAccountName"] == "dagster"
    assert pod["securityContext"]["runAsUser"] == 1234, "who owns the share there"
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["resources"]["limits"]["memory"].endswith("Mi"), "of the step, not of what leads it"
    assert container["command"][0] == "python"


def known_run(run_id="run-1", session="SP035/2023-03-03/001", is_finished=False):
    return SimpleNamespace(run_id=run_id, tags={PARTITION_TAG: session}, is_finished=is_finished)


@pytest.fixture
def runs():
    """Runs that the records know."""
    return {"run-1": known_run()}


@pytest.fixture
def engine(cluster, settings, runs, monkeypatch):
    """An engine whose clock a test moves."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(module.time, "sleep", lambda s: setattr(clock, "now", clock.now + s))
    instance = SimpleNamespace(run_launcher=None, get_run_by_id=runs.get)
    needs = SimpleNamespace(of=lambda _: NEEDS, instance=instance)
    run = dg.DagsterRun("process_session", "run-1", tags={PARTITION_TAG: "SP035/2023-03-03/001"})
    made = KubernetesEngine(settings, needs, run, SessionKey("SP035", "2023-03-03", "001"))
    made.clock = clock
    return made


@pytest.fixture
def order():
    said = []
    made = StepOrder("run-1", STEP, 0, "command", lambda text, _: said.append(text))
    return made, said


def later(engine, order, seconds=10.0):
    """Ask what became of the step now and some time later."""
    engine.clock.now += 6
    engine.why_lost(order)
    engine.clock.now += seconds
    return engine.why_lost(order)


def memory_of(job):
    return int(job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"][:-2])


@pytest.mark.parametrize(
    ("reason", "factor", "told"),
    [
        ("OOMKilled", 2, r"no memory left: it was given 4\.0 GB"),
        ("Evicted", 1, "node node-7 was short of something"),
        ("DeletionByTaintManager", 1, "lost its place on node node-7"),
        ("PreemptionByScheduler", 1, "a pod that goes first"),
        ("NodeShutdown", 1, "drained, shut down"),
        ("Gone", 1, "its pod was taken away with its node"),
    ],
)
def test_a_step_that_lost_its_pod_is_made_once_more_and_then_fails_by_the_reason(
    engine, cluster, order, reason, factor, told
):
    order, said = order
    engine.launch(order)
    (first,) = cluster.jobs
    assert later(engine, order) is None
    cluster.ends(first, 137, reason)
    assert later(engine, order) is None
    assert re.search(told, said[-2])
    assert said[-2].endswith("It is tried once more")
    assert len(cluster.made) == 2
    assert memory_of(cluster.made[1]) == pytest.approx(factor * memory_of(cluster.made[0]), abs=1)
    (second,) = {*cluster.jobs} - {first}
    cluster.ends(second, 137, reason)
    why = later(engine, order)
    assert re.search(told.replace("4", str(4 * factor)), why)
    assert len(cluster.made) == 2, "not a third time"


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        (137, "DeadlineExceeded", "after 30 min, its limit of time.*active_deadline_seconds"),
        (1, "", "ended without telling why.*the last lines"),
        (0, "", "has not told the end of the step"),
    ],
)
def test_a_step_that_ended_for_a_reason_of_its_own_is_told_and_not_tried_again(
    engine, cluster, order, code, reason, told
):
    order, _ = order
    engine.launch(order)
    (name,) = cluster.jobs
    cluster.ends(name, code, reason, "the last lines")
    engine.clock.now += 6
    assert engine.why_lost(order) is None, "its records may show its end a moment later"
    engine.clock.now += 6
    assert re.search(told, engine.why_lost(order), re.DOTALL)
    assert len(cluster.made) == 1


def test_a_step_that_needs_no_gpu_sees_none(engine, cluster, order):
    order, _ = order
    for n, gpu in enumerate((False, True)):
        engine._needs.of = lambda _, gpu=gpu: replace(NEEDS, gpu=gpu)
        engine.launch(replace(order, n_before=n))
    (without, with_one) = (
        {one["name"]: one.get("value", "") for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
        for job in cluster.made
    )
    assert without["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in with_one


def test_a_worker_killed_for_want_of_memory_lets_its_step_begin_again_with_twice_as_much(engine, cluster, order):
    order, _ = order
    engine.launch(replace(order, n_before=1))
    assert memory_of(cluster.made[0]) == -(-8 * 10**9 // 2**20)


def test_a_pod_that_waits_for_what_only_somebody_can_mend_fails_after_a_while(engine, cluster, order):
    order, _ = order
    cluster.fates = {"rois": ["ImagePullBackOff"]}
    engine.launch(order)
    assert later(engine, order, 60) is None, "somebody may just be putting it right"
    why = later(engine, order, 70)
    assert "ImagePullBackOff" in why
    assert "MESO_K8S_IMAGE" in why
    assert cluster.jobs == {}


def test_a_pod_that_waits_for_room_waits_and_that_is_told_once(engine, cluster, order):
    order, said = order
    engine.launch(order)
    (name,) = cluster.jobs
    cluster.pods[name]["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: memory"}
        ],
    }
    for _ in range(5):
        assert later(engine, order, 3600) is None
    assert said[1:] == [f"job {name} waits: Kubernetes says Unschedulable: 0/3 nodes: memory"]


def test_a_job_that_somebody_deleted_is_told_so(engine, cluster, order):
    order, _ = order
    engine.launch(order)
    assert later(engine, order, 20) is None
    cluster.jobs.clear()
    assert "somebody deleted it" in later(engine, order, 20)


def test_while_the_api_server_is_away_nothing_counts_as_lost_and_steps_wait(engine, cluster, order):
    order, said = order
    cluster.down = 503
    engine.launch(order)
    assert cluster.made == []
    for _ in range(3):
        assert later(engine, order, 60) is None
    assert len(said) == 1
    assert "The step waits until it answers" in said[0]
    cluster.down = 0
    assert later(engine, order, 60) is None
    assert len(cluster.made) == 1
    cluster.down = 500
    for _ in range(3):
        assert later(engine, order, 600) is None
    assert sum("Pods go on meanwhile" in text for text in said) == 1
    cluster.down = 0
    assert later(engine, order) is None
    assert len(cluster.made) == 1


def test_an_answer_that_was_lost_makes_no_second_job(engine, cluster, order):
    order, _ = order
    engine.launch(order)
    engine._make(order, engine._steps[STEP])
    assert len(cluster.made) == 1
    assert engine._lost == {}


def test_a_step_whose_run_is_stopped_has_no_job_any_more(engine, cluster, order):
    order, _ = order
    engine.launch(order)
    engine.terminate(order)
    engine.terminate(order)
    assert cluster.jobs == {}


def test_what_an_earlier_run_of_this_session_left_at_work_is_ended_and_nothing_else(engine, cluster, runs, settings):
    left = {
        "of-it": ("old", known_run("old", is_finished=True)),
        "of-another-session": ("other", known_run("other", "SP036/2023-03-03/001", is_finished=True)),
        "of-a-run-that-goes-on": ("on", known_run("on")),
        "of-nobody-known": ("lost", None),
    }
    for name, (run_id, run) in left.items():
        runs[run_id] = run
        labels = {RUN_LABEL: run_id, OURS_LABEL: "true"}
        engine.cluster.create(job_of_step(settings, PodOrder(name, NEEDS, labels)))
    said = []
    engine.begin(said.append)
    assert {*cluster.jobs} == {*left} - {"of-it"}
    (told,) = said
    assert "job of-it of run old" in told


def test_a_pod_of_another_version_refuses_its_step_with_both_versions(settings, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("meso_assets.runs.executors.kubernetes.step.end_at_once", lambda: None)
    monkeypatch.setattr("meso_assets.runs.executors.kubernetes.step.tell_children", lambda: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    leader = replace(Sameness.of_this_machine(settings), host="leader-pod", version="9.9").as_record()
    monkeypatch.setenv(ORDER, json.dumps({"command": "", "leader": leader}))
    assert main() == 1
    told = capsys.readouterr().err
    assert "9.9 on leader-pod" in told
    assert Sameness.of_this_machine(settings).version in told
