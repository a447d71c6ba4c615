"""The values for Dagster's Helm chart fit meso, the image and the types of Kubernetes, and hold no secret.

The chart itself is rendered where ``helm`` and the chart are at hand; elsewhere its words are those that its schema has
(dagster-io/dagster, helm/dagster/schema), as listed here.
"""

import copy
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import kubernetes.client
import pytest
import yaml
from dagster._core.code_pointer import CodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from meso_assets.runs.engines.kubernetes_api import PodOrder, job_of_step
from meso_assets.runs.instance import prepare_home
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.settings.variables import PREFIX
from meso_core.imaging import StepNeeds
from tests.deploy.kubernetes_stand_in import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
FILE = REPOSITORY / "deploy" / "kubernetes" / "values.yaml"
DOCKERFILE = (REPOSITORY / "deploy" / "Dockerfile").read_text()
#: What the chart takes, where meso's values say something.
CHART = {
    "": "global generatePostgresqlPasswordSecret postgresql dagsterWebserver dagsterDaemon dagster-user-deployments "
    "runLauncher concurrency ingress telemetry rabbitmq redis flower",
    "global": "dagsterHome postgresqlSecretName serviceAccountName celeryConfigSecretName",
    "dagsterWebserver": "image service env envSecrets podSecurityContext securityContext volumes volumeMounts",
    "dagsterDaemon": "enabled image env envSecrets podSecurityContext securityContext volumes volumeMounts "
    "runCoordinator runMonitoring runRetries",
    "concurrency": "enabled pools runs",
}
DEPLOYMENT = (
    "name image dagsterApiGrpcArgs port includeConfigInLaunchedRuns env envSecrets podSecurityContext securityContext "
    "volumes volumeMounts"
)


@pytest.fixture
def values():
    return yaml.safe_load(FILE.read_text())


def pods_of(values):
    """The parts that are pods of ours, by name."""
    (code,) = values["dagster-user-deployments"]["deployments"]
    return {"webserver": values["dagsterWebserver"], "daemon": values["dagsterDaemon"], "code": code}


def check_types(values):
    """Refuse a word that the Kubernetes API does not know, in whatever is handed on to it."""
    types = {
        "volumes": kubernetes.client.V1Volume,
        "volumeMounts": kubernetes.client.V1VolumeMount,
        "env": kubernetes.client.V1EnvVar,
        "envSecrets": kubernetes.client.V1SecretEnvSource,
        "podSecurityContext": kubernetes.client.V1PodSecurityContext,
        "securityContext": kubernetes.client.V1SecurityContext,
    }
    for pod in pods_of(values).values():
        for name, kind in types.items():
            for one in pod[name] if isinstance(pod[name], list) else [pod[name]]:
                k8s_model_from_dict(kind, k8s_snake_case_dict(kind, one))
    of_runs(values)


def of_runs(values):
    """What the chart makes of the part for runs, as the launcher takes it."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    return UserDefinedDagsterK8sConfig.from_dict(
        {re.sub("[A-Z]", lambda m: "_" + m[0].lower(), name): part for name, part in given.items()}
    )


def test_the_values_say_what_the_chart_knows(values):
    for part, known in CHART.items():
        told = values[part] if part else values
        assert {*told} <= {*known.split()}, part
    (code,) = values["dagster-user-deployments"]["deployments"]
    assert {*code} <= {*DEPLOYMENT.split()}
    assert values["runLauncher"]["type"] == "K8sRunLauncher"


def test_pods_are_of_types_that_kubernetes_has(values):
    check_types(values)


MISSPELT = [
    lambda v: v["dagsterWebserver"]["volumes"][0].update(persistentVolumeClaims={}),
    lambda v: v["dagsterWebserver"]["volumes"][1].update(emptyDir={"sizelimit": "1Gi"}),
    lambda v: v["dagsterDaemon"]["podSecurityContext"].update(runAsNonroot=True),
    lambda v: v["dagster-user-deployments"]["deployments"][0]["volumeMounts"][0].update(path="/x"),
    lambda v: v["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"].update(nodeSelektor={}),
]


@pytest.mark.parametrize("misspell", MISSPELT)
def test_a_misspelt_word_is_found(values, misspell):
    wrong = copy.deepcopy(values)
    misspell(wrong)
    with pytest.raises(Exception, match="Unexpected keys"):
        check_types(wrong)


def test_variables_are_settings_and_the_same_in_all_pods(values, monkeypatch):
    told = {name: {one["name"]: one["value"] for one in pod["env"]} for name, pod in pods_of(values).items()}
    home = told["code"].pop("DAGSTER_HOME")
    assert told["webserver"] == told["daemon"] == told["code"]
    assert home == values["global"]["dagsterHome"] == f"{told['code']['MESO_HOME']}/dagster_home"
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in told["code"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()  # a name that is none is a warning, which fails here
    assert settings.executor == "k8s"
    assert settings.places == 32
    for path in (settings.root, settings.home, settings.cache):
        assert str(path).startswith("/share/"), "all pods see the share alone"


def test_all_pods_have_one_image_which_is_pinned_and_not_of_root(values):
    images = [pod["image"] for pod in pods_of(values).values()]
    assert images[0] == images[1] == images[2]
    name = f"{images[0]['repository']}:{images[0]['tag']}"
    for pod in pods_of(values).values():
        assert {"name": "MESO_K8S_IMAGE", "value": name} in pod["env"]
        assert pod["podSecurityContext"]["runAsNonRoot"]
        assert str(pod["podSecurityContext"]["runAsUser"]) == re.search(r"useradd --uid (\d+)", DOCKERFILE)[1] != "0"
        assert pod["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert re.search(r":\d+\.\d+\.\d+$", name)
    assert "k8s" in re.search(r"/source\[([\w,]+)\]", DOCKERFILE)[1].split(",")


def test_only_the_cluster_reaches_the_interface_and_secrets_stand_by_name_alone(values):
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    assert values["ingress"] == {"enabled": False}
    assert values["generatePostgresqlPasswordSecret"] is False
    assert values["postgresql"]["existingSecret"] == values["global"]["postgresqlSecretName"]
    lines = [line.partition("#")[0] for line in FILE.read_text().splitlines()]
    assert not [line for line in lines if re.search(r"(?i)passw(or)?d\s*:|_KEY|TOKEN|://[^ ]*:[^ ]*@", line)]


def test_runs_wait_as_in_the_home_that_meso_makes(values, tmp_path):
    home = prepare_home(load_settings({"home": tmp_path / "home", "executor": "k8s", "k8s_image": "meso:1"}))
    own = yaml.safe_load((home / "dagster.yaml").read_text())
    coordinator = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    assert {"module": coordinator["module"], "class": coordinator["class"]} == own["run_coordinator"]
    assert values["concurrency"]["pools"] == own["concurrency"]["pools"]
    runs = values["concurrency"]["runs"]
    assert runs["tagConcurrencyLimits"] == own["concurrency"]["runs"]["tag_concurrency_limits"]
    assert runs["maxConcurrentRuns"] == own["concurrency"]["runs"]["max_concurrent_runs"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert monitoring["freeSlotsAfterRunEndSeconds"] == own["run_monitoring"]["free_slots_after_run_end_seconds"]
    assert values["dagsterDaemon"]["runRetries"]["maxRetries"] == own["run_retries"]["max_retries"]


def test_a_step_sees_the_share_the_records_and_the_secrets_and_is_not_root(values, tmp_path):
    """As the chart hands the part of the code location on to runs, and dagster-k8s to steps."""
    (code,) = values["dagster-user-deployments"]["deployments"]
    context = {
        "env": code["env"],
        "env_secrets": [one["name"] for one in code["envSecrets"]],
        "volumes": code["volumes"],
        "volume_mounts": code["volumeMounts"],
        "namespace": "meso",
    }
    with Cluster(tmp_path) as cluster:
        launcher = K8sRunLauncher(
            service_account_name="dagster",
            instance_config_map="dagster-instance",
            postgres_password_secret=values["global"]["postgresqlSecretName"],
            dagster_home=values["global"]["dagsterHome"],
            load_incluster_config=False,
            kubeconfig_file=str(cluster.config),
            run_k8s_config=of_runs(values).to_dict(),
        )
    pointer = CodePointer.from_module("meso_assets.definitions", "defs", "/")
    location = RepositoryPythonOrigin("python", pointer, container_context={"k8s": context})
    origin = JobPythonOrigin("process_session", location)
    settings = load_settings({"executor": "k8s", "k8s_image": "meso:1"})
    instance, run = (
        SimpleNamespace(run_launcher=launcher),
        dg.DagsterRun("process_session", "r", job_code_origin=origin),
    )
    job = job_of_step(settings, PodOrder("meso-x", StepNeeds(2, 8.0, False, 30)), instance, run)
    pod = kubernetes.client.ApiClient().sanitize_for_serialization(job)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert mounts["share"] == "/share"
    assert mounts["dagster-instance"] == f"{values['global']['dagsterHome']}/dagster.yaml"
    names = [one["name"] for one in pod["volumes"]]
    assert sorted(names) == sorted({*names}) == sorted(mounts), "Kubernetes refuses two of one name"
    assert {"secretRef": {"name": "meso-secrets"}} in container["envFrom"]
    passwords = [one for one in container["env"] if one["name"] == "DAGSTER_PG_PASSWORD"]
    assert passwords[0]["valueFrom"]["secretKeyRef"]["name"] == values["global"]["postgresqlSecretName"]
    assert pod["securityContext"]["runAsUser"] == values["dagsterDaemon"]["podSecurityContext"]["runAsUser"]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": f"{-(-8 * 10**9 // 2**20)}Mi"}
    assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_chart_takes_the_values():
    """Where helm is installed and has the chart, as after ``helm repo add dagster https://dagster-io.github.io/helm``."""
    if shutil.which("helm") is None:
        pytest.skip("no helm on this machine: the chart is not rendered")
    done = subprocess.run(
        ["helm", "template", "dagster", "dagster/dagster", "--values", FILE], capture_output=True, text=True, timeout=60
    )
    if done.returncode and "repo" in done.stderr:
        pytest.skip(f"helm does not have the chart: {done.stderr.strip()[:200]}")
    assert done.returncode == 0, done.stderr
    made = [one for one in yaml.safe_load_all(done.stdout) if one]
    kinds = {one["kind"] for one in made}
    assert {"Deployment", "Service", "ConfigMap"} <= kinds
    assert "Ingress" not in kinds
    if shutil.which("kubeconform"):
        subprocess.run(["kubeconform", "-strict", "-summary"], input=done.stdout, text=True, check=True, timeout=60)
