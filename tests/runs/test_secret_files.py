"""Files with secrets that everybody may read are named, with the command that mends them; what is in them is not."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from meso_assets.runs.settings.secret_files import insist_on_secrecy, warn_of_open_files
from meso_core.errors import MesoWarning, SettingsError

SECRET = "swordfish"
LINES = [
    f"ALYX_PASSWORD={SECRET}",
    f"ALYX_TOKEN='{SECRET}'",
    f'export MESO_NOTICES="mailtos://u:{SECRET}@mail.example.org"',
    f"AWS_SECRET_ACCESS_KEY={SECRET}",
    f"MESO_SFTP_PASSWORD = {SECRET}",
    f"root = 'sftp://lab:{SECRET}@server/Subjects'",
]


def warned(file):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_open_files([file])
    return [str(warning.message) for warning in caught if warning.category is MesoWarning]


@pytest.mark.parametrize("line", LINES)
def test_a_file_with_a_secret_that_all_may_read_is_named_and_the_remedy_mends_it(line, tmp_path):
    file = tmp_path / "environment"
    file.write_text(f"MESO_ROOT=/data\n{line}\n")
    for mode in (0o644, 0o604, 0o602):
        file.chmod(mode)
        (told,) = warned(file)
        assert told.startswith(f"{file}: expected a file of secrets")
        assert SECRET not in told
        command = told.partition(". ")[2].partition("  (")[0]
        assert command == f"chmod 600 {file}"
        subprocess.run(command.split(), check=True)
        assert warned(file) == []
    file.chmod(0o640)
    assert warned(file) == [], "a group may read it"


NO_SECRETS = ("MESO_ROOT=/data\n", "# ALYX_PASSWORD=\n", "ALYX_PASSWORD=\n", "# ALYX_TOKEN=a", "root = 's3://b/x'")


@pytest.mark.parametrize("text", NO_SECRETS)
def test_a_file_without_a_secret_may_be_read_by_all(text, tmp_path):
    file = tmp_path / "environment"
    file.write_text(text)
    file.chmod(0o644)
    assert warned(file) == []


def test_what_is_not_there_or_no_file_is_passed_over(tmp_path):
    assert warned(tmp_path / "gone") == []
    assert warned(tmp_path) == []
    insist_on_secrecy(tmp_path / "gone")


def test_where_a_file_is_secrets_alone_it_is_refused(tmp_path):
    file = tmp_path / "addresses"
    file.write_text("x")
    file.chmod(0o664)
    with pytest.raises(SettingsError, match="found rights 664: every user"):
        insist_on_secrecy(file)


def test_the_example_of_the_service_holds_no_secret():
    example = Path(__file__).resolve().parents[2] / "deploy" / "environment.example"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_open_files([example])


def test_a_run_warns_of_an_environment_file_that_all_may_read(tmp_path):
    (tmp_path / ".env").write_text(f"ALYX_PASSWORD={SECRET}\n")
    (tmp_path / ".env").chmod(0o644)
    program = "from meso_assets.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "SP035/2023-03-03/001"]
    path = str(Path(__file__).resolve().parents[2])
    told = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "HOME": str(tmp_path), "PYTHONPATH": path, "MESO_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert f"warning: {tmp_path}/.env: expected a file of secrets" in told.stderr
    assert SECRET not in told.stderr + told.stdout
