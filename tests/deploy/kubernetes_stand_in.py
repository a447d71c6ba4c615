"""A stand-in for a cluster: the few calls of the Kubernetes API that meso makes, and pods that are processes.

No kube-apiserver can be had where these tests run. This answers on loopback with the status codes and sentences that
one gives, as far as they are known from its sources and documents, to the client of the `kubernetes` package, which
nobody here wrote. A pod is a process on this machine: its volumes, its image and its limits are not there, and what a
limit does is played: see :attr:`Cluster.fates`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "t0ken-of-the-lab"
#: As much of the end of a log as Kubernetes keeps as the message of a container that failed, bytes.
_TAIL = 2048


def refusal(code, reason, message):
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


class Cluster:
    """The stand-in; ``with Cluster(folder) as cluster`` serves it, and ends all its pods at the end."""

    def __init__(self, folder: Path, namespace: str = "lab") -> None:
        self.folder, self.namespace = folder, namespace
        self.accounts = {"default"}
        self.may = {("create", "jobs"), ("create", "pods"), ("list", "jobs"), ("list", "pods"), ("delete", "jobs")}
        #: Refuses a pod that is asked for: a status and a message.
        self.refuses_pods = None
        #: Every call is answered with this status, where it is set.
        self.down = 0
        self.jobs, self.pods, self.processes = {}, {}, {}
        #: Jobs as they were asked for, in order.
        self.made = []
        #: Asset → what becomes of its pods, one after the other: a reason that is played; "" or none: they work.
        self.fates = {}
        self.calls = []
        self.lock = threading.RLock()

    def __enter__(self):
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null") if length else None
                code, told = cluster.answer(self.command, self.path, self.headers, body)
                data = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self._answer()

            def do_POST(self):
                self._answer()

            def do_DELETE(self):
                self._answer()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "kubeconfig"
        self.write_config()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        for process in list(self.processes.values()):
            process.kill()
            process.wait()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def write_config(self, **changes):
        """Write the file that kubectl would use."""
        context = {"cluster": "c", "user": "u", "namespace": changes.get("namespace", self.namespace)}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": changes.get("server", self.address)}}],
            "users": [{"name": "u", "user": {"token": changes.get("token", TOKEN)}}],
            "contexts": [{"name": "x", "context": context}],
            "current-context": changes.get("current", "x"),
        }
        self.config.write_text(yaml.safe_dump(told))

    def answer(self, verb, path, headers, body):
        """Answer one call."""
        url = urlsplit(path)
        query = parse_qs(url.query)
        self.calls.append((verb, url.path, query))
        if self.down:
            return refusal(self.down, "ServiceUnavailable", "the server is currently unable to handle the request")
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return refusal(401, "Unauthorized", "Unauthorized")
        parts = url.path.strip("/").split("/")
        at = parts.index("namespaces")
        namespace, kind, name = parts[at + 1], parts[at + 2], "/".join(parts[at + 3 :])
        what = {"GET": "list", "POST": "create", "DELETE": "delete"}[verb]
        if (what, kind) not in self.may:
            group = "batch" if kind == "jobs" else ""
            full = f"{kind}.{group}" if group else kind
            said = f'{full} is forbidden: User "u" cannot {what} resource "{kind}" in API group "{group}"'
            return refusal(403, "Forbidden", f'{said} in the namespace "{namespace}"')
        if what == "create":
            return self._create(namespace, kind, body, bool(query.get("dryRun")))
        with self.lock:
            if what == "delete":
                return self._delete(name)
            chosen = dict(one.split("=") for one in query.get("labelSelector", [""])[0].split(",") if one)
            found = [
                one
                for one in (self.jobs if kind == "jobs" else self.pods).values()
                if chosen.items() <= one["metadata"]["labels"].items()
            ]
            title = {"jobs": "JobList", "pods": "PodList"}[kind]
            return 200, {"kind": title, "apiVersion": "v1", "metadata": {}, "items": json.loads(json.dumps(found))}

    def _create(self, namespace, kind, body, is_dry):
        if namespace != self.namespace:
            return refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        name = body["metadata"]["name"]
        if kind == "pods":
            account = body["spec"].get("serviceAccountName") or "default"
            if account not in self.accounts:
                said = f'pods "{name}" is forbidden: error looking up service account {namespace}/{account}: '
                return refusal(403, "Forbidden", f'{said}serviceaccount "{account}" not found')
            if self.refuses_pods:
                return refusal(*self.refuses_pods)
        if is_dry:
            return 201, body
        with self.lock:
            if name in self.jobs:
                return refusal(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
            self.made.append(body)
            self.jobs[name] = {**body, "status": {}}
            self._start(body)
            return 201, body

    def _start(self, job):
        """Make the pod of a job, and let its process begin."""
        name = job["metadata"]["name"]
        template = job["spec"]["template"]
        labels = {**template["metadata"]["labels"], "job-name": name}
        pod = {
            "kind": "Pod",
            "metadata": {"name": f"{name}-x1", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {**template["spec"], "nodeName": "node-7"},
            "status": {"phase": "Running", "containerStatuses": []},
        }
        self.pods[name] = pod
        fates = self.fates.get(labels.get("meso/asset"), [])
        fate = fates.pop(0) if fates else ""
        if fate in ("ImagePullBackOff", "CreateContainerConfigError"):
            self.waits(name, fate)
            return
        threading.Thread(target=self._run, args=(job, pod, fate), daemon=True).start()

    def waits(self, name, reason, message="as the test has it"):
        """Let a pod wait for a reason."""
        self.pods[name]["status"] = {
            "phase": "Pending",
            "containerStatuses": [_state("waiting", reason=reason, message=message)],
        }

    def _run(self, job, pod, fate):
        name = job["metadata"]["name"]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        command = [sys.executable if word == "python" else word for word in container["command"]]
        given = {one["name"]: one.get("value", "") for one in container["env"]}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESO_", "DAGSTER_", "KUBE"))}
        with tempfile.TemporaryDirectory() as scratch:
            environment = {**kept, **given, "TMPDIR": scratch, "HOSTNAME": pod["metadata"]["name"]}
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=scratch
            )
            self.processes[name] = process
            if fate:
                process.send_signal(signal.SIGKILL)
            output = process.communicate()[0]
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        with self.lock:
            self.ends(name, code, fate, output[-_TAIL:].decode(errors="replace"))

    def ends(self, name, code, reason="", message=""):
        """Let a pod be over."""
        if name not in self.pods:
            return
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": []}
        end = {"exitCode": code, "reason": "Error" if code else "Completed"}
        if code:
            end["message"] = message
        if reason == "OOMKilled":
            end["reason"] = reason
        elif reason in ("DeletionByTaintManager", "PreemptionByScheduler", "EvictionByEvictionAPI"):
            status["conditions"] = [
                {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "as the test has it"}
            ]
        elif reason:
            status |= {"reason": reason, "message": "as the test has it"}
        status["containerStatuses"] = [_state("terminated", **end)]
        self.pods[name]["status"] = status
        kind = "Failed" if code else "Complete"
        self.jobs[name]["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"}]}
        if reason == "Gone":
            del self.pods[name]

    def _delete(self, name):
        if name not in self.jobs:
            return refusal(404, "NotFound", f'jobs.batch "{name}" not found')
        del self.jobs[name]
        self.pods.pop(name, None)
        process = self.processes.get(name)
        if process is not None and process.poll() is None:
            process.terminate()
        return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}


def _state(kind, **told):
    return {"name": "dagster", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": {kind: told}}
