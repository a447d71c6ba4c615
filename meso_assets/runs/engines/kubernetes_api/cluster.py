"""The way to the API server of a cluster: its configuration, the calls that meso makes, and what goes wrong with them.

What belongs here: everything that opens a connection. Nothing of it tells a token or a certificate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from meso_core.errors import EngineError, MesoError, SettingsError
from meso_core.opening import is_there, read_plain

from ...settings.settings import MesoSettings
from .job_state import StepJob, looked_at

#: Time for a connection, and for an answer, s.
_WITHIN_S = (5.0, 30.0)
#: Where a pod finds the namespace that it is in.
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_RIGHTS = (
    "Give the account that meso uses the right to it, as the role of Dagster's Helm chart has (docs/kubernetes.md)"
)
#: Words in a refusal → the setting to change, and how.
_REFUSALS = (
    (
        "serviceaccount",
        "MESO_K8S_SERVICE_ACCOUNT",
        "Name one of those that `kubectl get serviceaccounts` lists, or leave it out for `default`",
    ),
    (
        "namespaces ",
        "MESO_K8S_NAMESPACE",
        "Name one of those that `kubectl get namespaces` lists, or make it: `kubectl create namespace NAME`",
    ),
    ("priority", "MESO_K8S_STEP", "Name a class that `kubectl get priorityclasses` lists"),
)
_STEP = "Correct the parts of pods there; `kubectl explain job.spec.template.spec` tells what there is"


def insist_on_packages() -> None:
    """Refuse to go on without the packages that know Kubernetes.

    Raises
    ------
    SettingsError
        With what to install.
    """
    if lacking := [name for name in ("dagster_k8s", "kubernetes") if find_spec(name) is None]:
        raise SettingsError.at(
            "MESO_EXECUTOR=k8s",
            expected="packages for Kubernetes",
            found=f"{' and '.join(lacking)} not installed",
            remedy="pip install 'meso[k8s]'",
        )


class Cluster:
    """A namespace of a cluster.

    Parameters
    ----------
    settings
        Settings of the platform.

    Raises
    ------
    SettingsError
        If there is no configuration of a cluster, or the packages are lacking.
    """

    def __init__(self, settings: MesoSettings) -> None:
        insist_on_packages()
        from kubernetes import client

        configuration = client.Configuration()
        #: Where meso runs in a pod, the service account is its login; else a file of kubectl is.
        namespace = _in_cluster(configuration) if _is_pod() else _of_kubectl(configuration)
        configuration.retries = False
        api = client.ApiClient(configuration)
        self.host = str(configuration.host)
        self.namespace = settings.k8s_namespace or namespace or "default"
        self._jobs = client.BatchV1Api(api)
        self._pods = client.CoreV1Api(api)

    def create(self, job: Any) -> None:  # noqa: ANN401  Kubernetes's
        """Make a job; one of this name that is there counts as made, for its answer alone may have been lost.

        Raises
        ------
        SettingsError, EngineError
            If it is refused, with the setting to change, or the API server does not answer.
        """
        with self._named("POST jobs", "a job that Kubernetes takes"):
            _unless(409, self._jobs.create_namespaced_job, self.namespace, job, _request_timeout=_WITHIN_S)

    def would_take(self, job: Any) -> None:  # noqa: ANN401  Kubernetes's
        """Ask whether the cluster would take a job and its pod, without making them.

        Raises
        ------
        SettingsError, EngineError
            As :meth:`create`. A right to ask for the pod, and room in a quota, are not insisted on.
        """
        from kubernetes import client

        how = {"dry_run": "All", "_request_timeout": _WITHIN_S}
        with self._named("POST jobs", "a job that Kubernetes takes"):
            self._jobs.create_namespaced_job(self.namespace, job, **how)
        template = job.spec.template
        meta = client.V1ObjectMeta(name=job.metadata.name, labels=template.metadata.labels)
        pod = client.V1Pod(api_version="v1", kind="Pod", metadata=meta, spec=template.spec)
        try:
            with self._named("POST pods", "a pod that Kubernetes takes"):
                self._pods.create_namespaced_pod(self.namespace, pod, **how)
        except EngineError as error:
            if "cannot create resource" not in str(error) and "exceeded quota" not in str(error):
                raise

    def jobs(self, labels: Mapping[str, str]) -> dict[str, StepJob]:
        """Find the jobs that have these labels, by their names, with what their pods tell.

        Raises
        ------
        EngineError
            If the API server does not answer.
        """
        chosen = ",".join(f"{name}={value}" for name, value in labels.items())
        how = {"label_selector": chosen, "_request_timeout": _WITHIN_S}
        with self._named("GET jobs", "an answer"):
            jobs: Sequence[Any] = self._jobs.list_namespaced_job(self.namespace, **how).items
            pods: Sequence[Any] = self._pods.list_namespaced_pod(self.namespace, **how).items
        return {job.metadata.name: looked_at(job, pods) for job in jobs}

    def delete(self, name: str) -> None:
        """End a job and its pods; one that is gone is left alone.

        Raises
        ------
        EngineError
            If the API server does not answer.
        """
        with self._named(f"DELETE job {name}", "an answer"):
            how = {"propagation_policy": "Background", "_request_timeout": _WITHIN_S}
            _unless(404, self._jobs.delete_namespaced_job, name, self.namespace, **how)

    @contextmanager
    def _named(self, call: str, expected: str) -> Iterator[None]:
        """Name what goes wrong with a call."""
        import urllib3
        from kubernetes.client.rest import ApiException

        try:
            yield
        except ApiException as error:
            raise self._refused(call, expected, int(error.status or 0), _said(error)) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._no_answer(call, str(error) or type(error).__name__) from error

    def _refused(self, call: str, expected: str, status: int, said: str) -> MesoError:
        where = f"Kubernetes at {self.host}, namespace {self.namespace}"
        found = f"{status} {said}"
        if status in (0, 408, 429) or status >= 500:
            return self._no_answer(call, found)
        if status == 401:
            remedy = "Log in again (`kubectl get jobs` tells whether that worked), or correct KUBECONFIG"
            return EngineError.at(where, expected="a login that it knows", found=found, remedy=remedy)
        if "cannot " in said and " resource " in said:
            return EngineError.at(where, expected=f"the right to {call}", found=found, remedy=_RIGHTS)
        if "exceeded quota" in said:
            remedy = "Wait until there is room, or ask for a larger quota (`kubectl describe quota`)"
            error = EngineError.at(where, expected="room in the quota of the namespace", found=found, remedy=remedy)
            error.passes = True
            return error
        for word, setting, remedy in _REFUSALS:
            if word in said.lower():
                return SettingsError.at(setting, expected=expected, found=found, remedy=remedy)
        return SettingsError.at("MESO_K8S_STEP", expected=expected, found=found, remedy=_STEP)

    def _no_answer(self, call: str, found: str) -> EngineError:
        error = EngineError.at(
            f"Kubernetes at {self.host}",
            expected=f"an answer to {call}",
            found=found,
            remedy="See whether `kubectl get jobs` answers here; correct KUBECONFIG, or wait until the cluster is back",
        )
        error.passes = True
        return error


def _is_pod() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and is_there(_OWN_NAMESPACE)


def _in_cluster(configuration: Any) -> str:  # noqa: ANN401  Kubernetes's
    from kubernetes import config

    with _configuration_errors():
        config.load_incluster_config(client_configuration=configuration)
    return read_plain(_OWN_NAMESPACE).decode().strip()


def _of_kubectl(configuration: Any) -> str:  # noqa: ANN401  Kubernetes's
    from kubernetes import config

    with _configuration_errors():
        # else the package takes the one that the variable named when it was imported
        file = os.environ.get("KUBECONFIG") or None
        config.load_kube_config(file, client_configuration=configuration, persist_config=False)
        _, active = config.list_kube_config_contexts(file)
    return str(active["context"].get("namespace") or "")


@contextmanager
def _configuration_errors() -> Iterator[None]:
    import yaml
    from kubernetes.config import ConfigException

    try:
        yield
    except (ConfigException, yaml.YAMLError, OSError, KeyError, TypeError) as error:
        raise SettingsError.at(
            "KUBECONFIG" if os.environ.get("KUBECONFIG") else "configuration of Kubernetes",
            expected="a cluster, a user and a current context",
            found=" ".join(str(error).split()) or type(error).__name__,
            remedy="Name the file that `kubectl` uses in KUBECONFIG, run meso in a pod with a service account, or set "
            "MESO_EXECUTOR=multiprocess",
        ) from error


def _unless(status: int, call: Any, *args: Any, **how: Any) -> None:  # noqa: ANN401  Kubernetes's
    """Make a call; this answer says that it was made before."""
    from kubernetes.client.rest import ApiException

    try:
        call(*args, **how)
    except ApiException as error:
        if error.status != status:
            raise


def _said(error: Any) -> str:  # noqa: ANN401  Kubernetes's
    """Return what an API server says of a refusal, in its own words."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(str(error.body or error.reason or "").split())[:300]
