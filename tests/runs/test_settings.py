"""One typed settings object: where values come from, what is refused, how it reaches child processes."""

import os
import re
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

from meso_assets.runs.settings.settings import MesoSettings, load_settings
from meso_core.errors import MesoWarning, SettingsError, StorageError


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith("MESO_") and name.removeprefix("MESO_").lower() in MesoSettings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.delenv("MESO_SETTINGS", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)


def test_environment_wins_over_file_and_arguments_over_both(monkeypatch, tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text('atlas = "allen"\nquiet_minutes = 3.0\narchive_format = "zarr"\n')
    monkeypatch.setenv("MESO_SETTINGS", str(file))
    monkeypatch.setenv("MESO_QUIET_MINUTES", "4")
    settings = load_settings({"archive_format": "tar.bz2"})
    assert (settings.atlas, settings.quiet_minutes, settings.archive_format) == ("allen", 4.0, "tar.bz2")


def test_meso_toml_of_the_working_folder_counts(tmp_path):
    (tmp_path / "meso.toml").write_text("[suite2p]\nthreshold_scaling = 0.8\n")
    assert load_settings().suite2p == {"threshold_scaling": 0.8}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('atlas = "alen"', "atlas"),
        ('root = "ftp://bucket/Subjects"', "root"),
        ("rooot = 1", "rooot"),
        ("cores = 0", "cores"),
        ("memory_gb = -1.0", "memory_gb"),
    ],
)
def test_a_wrong_value_in_the_file_is_refused_by_name(monkeypatch, tmp_path, text, named):
    file = tmp_path / "lab.toml"
    file.write_text(text + "\n")
    monkeypatch.setenv("MESO_SETTINGS", str(file))
    with pytest.raises(SettingsError, match=named):
        load_settings()


@pytest.mark.parametrize("url", ["https://me:sesame@alyx.example.org", "https://:sesame@alyx.example.org", "sesame@a"])
def test_a_password_in_the_address_of_alyx_is_refused_without_showing_it(monkeypatch, url):
    monkeypatch.setenv("MESO_ALYX_URL", url)
    with pytest.raises(SettingsError, match="ALYX_PASSWORD") as caught:
        load_settings()
    assert "sesame" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variables", "file", "named"),
    [
        ({}, "root = \n", "line 1"),
        ({}, "\xff\xfe", "meso.toml"),
        ({"MESO_SUITE2P": "{bad"}, "", "suite2p"),
        ({"MESO_SUITE2P": '{"threshold_scalng": 1.0}'}, "", "detection.threshold_scaling"),
        ({"MESO_SUITE2P": '{"threshold_scaling": -1.0}'}, "", "from 0 to inf"),
        ({"MESO_ROOT": ""}, "", "root"),
        ({"MESO_ROOT": "s3://"}, "", "no bucket or host"),
        ({"MESO_ROOT": "sftp:///Subjects"}, "", "no bucket or host"),
        ({"MESO_ROOT": "memory://x"}, "", "memory://x, which would be empty in each process"),
        ({}, 'root = "memory://x"', "memory://x, which would be empty in each process"),
        ({"MESO_HOME": " "}, "", "home"),
        ({}, 'cache = ""', "cache"),
    ],
)
def test_what_cannot_be_read_or_means_nothing_is_a_named_error(monkeypatch, variables, file, named):
    Path("meso.toml").write_text(file, encoding="latin-1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(named)) as raised:
        load_settings()
    assert "Correct the variable" in str(raised.value)


def test_the_variable_to_correct_is_named(monkeypatch):
    monkeypatch.setenv("MESO_CORES", "two")
    monkeypatch.setenv("MESO_MEMORY_GB", "much")
    with pytest.raises(SettingsError, match="Correct the variable MESO_CORES, MESO_MEMORY_GB or the line"):
        load_settings()


@pytest.mark.parametrize(
    "root",
    [
        "sftp://me:hush@host/path",
        "s3://key:hush@bucket",
        "sftp://me:hush/hush@host/path",
        "ftp://me:hush@host",
        "https://me:hush@host/x",
    ],
)
def test_a_password_in_the_root_is_refused_and_not_repeated(monkeypatch, root):
    monkeypatch.setenv("MESO_ROOT", root)
    with pytest.raises(SettingsError, match=r"without a password or key.*MESO_SFTP_PASSWORD") as raised:
        load_settings()
    assert "hush" not in "".join(traceback.format_exception(raised.value))


def test_a_password_in_another_address_is_not_repeated(monkeypatch):
    monkeypatch.setenv("MESO_CORES", "https://me:hush@host")
    with pytest.raises(SettingsError, match="cores") as raised:
        load_settings()
    assert "hush" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("root", ["s3://bucket", "sftp://me@host:22/data@lab:1", "sftp://host/a:b@c", "s3://b/x@y"])
def test_a_root_on_a_server_is_taken_as_it_is(monkeypatch, root):
    monkeypatch.setenv("MESO_ROOT", f"{root}/")
    assert load_settings().root == root


def test_a_misspelt_variable_is_told_with_the_setting_that_was_meant(monkeypatch):
    monkeypatch.setenv("MESO_ARCHIVE_FORMT", "zarr")
    with pytest.warns(MesoWarning, match=r"MESO_ARCHIVE_FORMT .*did you mean MESO_ARCHIVE_FORMAT\?"):
        assert load_settings().archive_format == "tar.bz2"


def test_variables_of_tests_and_of_others_trouble_nobody(monkeypatch):
    for name in ("MESO_TEST_STRICT", "MESO_PEER_PYTHON", "MESO_REAL_DATA", "MESO_BENCH_FOVS", "MESOSCOPE_ROOT"):
        monkeypatch.setenv(name, "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_settings()


def test_a_settings_file_that_is_not_there_is_an_error_not_a_default(monkeypatch):
    monkeypatch.setenv("MESO_SETTINGS", "/nowhere/meso.toml")
    with pytest.raises(SettingsError, match=r"/nowhere/meso\.toml"):
        load_settings()


def test_a_child_process_sees_the_same_settings(tmp_path):
    settings = load_settings(
        {
            "root": tmp_path,
            "atlas": "phantom",
            "atlas_resolution_um": 50,
            "suite2p": {"registration.block_size": [64, 64]},
            "window_center_ml": 2.5,
        }
    )
    environment = {**os.environ, **settings.as_environment()}
    code = "from meso_assets.runs.settings.settings import load_settings; print(load_settings().model_dump_json())"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == settings.model_dump_json()


def test_fovs_run_side_by_side_within_cores_and_memory():
    assert load_settings({"cores": 8, "memory_gb": 64, "fov_memory_gb": 4}).parallel_fovs == 8
    assert load_settings({"cores": 8, "memory_gb": 9, "fov_memory_gb": 4}).parallel_fovs == 2
    assert load_settings({"cores": 8, "memory_gb": 2, "fov_memory_gb": 4}).parallel_fovs == 1


def test_defaults_are_what_this_process_may_use():
    """In a process that may use one core only, as in a container that was given one."""
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from meso_assets.runs.settings.settings import load_settings; print(load_settings().cores)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1"
    (total,) = (line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert 0 < load_settings().memory_gb <= int(total) * 1024 / 1e9 + 0.06


def test_a_home_below_a_file_is_a_named_error(tmp_path):
    from meso_assets.runs.instance import prepare_home

    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/home.*Set MESO_HOME"):
        prepare_home(load_settings({"home": tmp_path / "file" / "home"}))


def test_dagster_home_is_made_in_the_platforms_home_unless_one_is_set(monkeypatch, tmp_path):
    from hashlib import sha256

    from meso_assets.runs import instance
    from meso_assets.runs.instance import prepare_home

    settings = load_settings({"home": tmp_path / "home"})
    made = prepare_home(settings)
    assert made == tmp_path / "home" / "dagster_home"
    assert "telemetry" in (made / "dagster.yaml").read_text()
    (made / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    prepare_home(settings)
    assert (made / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n", "a lab's edits stay"
    monkeypatch.setattr(instance, "_EARLIER", {sha256((made / "dagster.yaml").read_bytes()).hexdigest()})
    prepare_home(settings)
    assert (made / "dagster.yaml").read_bytes() == instance.CONFIGURATION.read_bytes(), "what nobody edited follows"
    (made / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    prepare_home(settings)
    assert (made / "dagster.yaml").read_text() == "telemetry:\n  enabled: true\n"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "elsewhere"))
    assert prepare_home(settings) == tmp_path / "elsewhere"


def test_readme_lists_every_setting():
    from tests.made_docs import settings_table

    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert settings_table() in readme, "print tests.made_docs.settings_table() into it"
