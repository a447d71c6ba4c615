"""What SLURM's commands say is understood: jobs by their states, refusals by the setting that mends them."""

import subprocess

import pytest

from meso_assets.runs.engines import slurm_commands
from meso_assets.runs.engines.checks import check_engine
from meso_assets.runs.engines.slurm_commands import begun_at, check_slurm, jobs_of, largest_node, options_of, submit
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import EngineError, SettingsError
from meso_core.imaging import StepNeeds

NEEDS = StepNeeds(2, 4.0, False, 30)


@pytest.fixture
def slurm_says(monkeypatch):
    """Function that sets what each command prints or, as text behind an exit code, refuses; returns what was called."""
    called, said = [], {}

    def answer(command, **options):
        called.append(command)
        told = said.get(command[0], "")
        if told is FileNotFoundError:
            raise FileNotFoundError
        code, text = told if isinstance(told, tuple) else (0, told)
        return subprocess.CompletedProcess(command, code, "" if code else text, text if code else "")

    monkeypatch.setattr(slurm_commands.subprocess, "run", answer)

    def say(**commands):
        said.update(commands)
        return called

    return say


@pytest.fixture
def settings(tmp_path):
    return MesoSettings(
        root=tmp_path / "Subjects",
        home=tmp_path / "home",
        executor="slurm",
        slurm_account="lab",
        slurm_options="--qos=long --time=240",
    )


def test_a_job_asks_for_what_its_step_needs_and_the_lab_has_the_last_word(settings):
    options = options_of(settings, NEEDS)
    assert {"--cpus-per-task=2", "--mem=3815M", "--account=lab"} <= {*options}  # 4 GB are 3814.7 MiB
    assert options[-2:] == ["--qos=long", "--time=240"]
    assert not any(option.startswith(("--partition", "--gres")) for option in options)
    assert "--gres=gpu:1" in options_of(settings, StepNeeds(1, 1.0, True, 1))


@pytest.mark.parametrize("option", ["--array=0-7", "-o x", "--wrap=id", "--dependency=singleton"])
def test_options_by_which_jobs_are_found_again_are_not_the_labs(tmp_path, option):
    with pytest.raises(ValueError, match=r"meso sets .* itself"):
        MesoSettings(root=tmp_path / "Subjects", home=tmp_path / "home", slurm_options=f"--qos=long {option}")


def test_states_of_jobs_and_of_tasks_are_read_and_forgotten_ones_are_asked_of_the_accounting(slurm_says):
    called = slurm_says(
        squeue="7_0|meso-a-0|RUNNING|n1|1000|None\n7_1|meso-a-0|PENDING||N/A|Resources\n",
        sacct="8|meso-a-1|CANCELLED by 1000|n2|1009|None\n",
    )
    found = jobs_of({"7", "8"})
    assert {one: (job.state, job.node) for one, job in found.items()} == {
        "7_0": ("RUNNING", "n1"),
        "7_1": ("PENDING", ""),
        "8": ("CANCELLED", "n2"),
    }
    assert [found[one].is_over for one in ("7_0", "7_1", "8")] == [False, False, True]
    assert found["7_1"].waits
    assert [command[0] for command in called] == ["squeue", "sacct"], "one call for all jobs"


def test_a_job_that_a_node_could_not_start_is_one_whose_node_failed(slurm_says):
    slurm_says(squeue="7|meso-a-0|FAILED|n1|1000|JobLaunchFailure\n8|meso-a-1|FAILED|n1|1000|NonZeroExitCode\n")
    assert {one: job.state for one, job in jobs_of({"7", "8"}).items()} == {"7": "NODE_FAIL", "8": "FAILED"}


def test_when_a_job_was_begun_is_told_alike_on_all_machines(slurm_says, monkeypatch):
    called = slurm_says(squeue="1000\n")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    told, answer = [], slurm_commands.subprocess.run

    def listen(command, **options):
        told.append(options["env"]["SLURM_TIME_FORMAT"])
        return answer(command, **options)

    monkeypatch.setattr(slurm_commands.subprocess, "run", listen)
    assert begun_at("7_1") == "1000"
    assert (called[0][-1], told) == ("--jobs=7_1", ["%s"]), "seconds, whatever the zone of the machine"
    slurm_says(squeue=(1, "Unable to contact slurm controller (connect failure)"))
    assert begun_at("7_1") == ""


def test_a_job_that_nobody_knows_is_told_as_none(slurm_says):
    slurm_says(squeue=(1, "slurm_load_jobs error: Invalid job id specified"), sacct=(1, "storage is disabled"))
    assert jobs_of({"9"}) == {}


#: What sbatch says → the setting that its refusal names.
REFUSALS = {
    "sbatch: error: invalid partition specified: nope": "MESO_SLURM_PARTITION",
    "error: Batch job submission failed: Invalid account or account/partition combination": "MESO_SLURM_ACCOUNT",
    "error: Batch job submission failed: Invalid account specified": "MESO_SLURM_ACCOUNT",
    "error: Batch job submission failed: Invalid qos specification": "MESO_SLURM_OPTIONS",
    "error: Memory specification can not be satisfied": "MESO_SLURM_PARTITION",
    "sbatch: unrecognized option '--foo'": "MESO_SLURM_OPTIONS",
}


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_names_the_setting_and_what_to_do(slurm_says, tmp_path, said):
    slurm_says(sbatch=(1, said))
    with pytest.raises(SettingsError, match=rf"^{REFUSALS[said]}: expected a job that SLURM takes, found {said[:9]}"):
        submit([], tmp_path / "0.sh")


def test_a_controller_that_does_not_answer_is_no_fault_of_a_setting_and_asked_again(slurm_says, tmp_path, monkeypatch):
    slurm_says(sbatch=(1, "error: Batch job submission failed: Unable to contact slurm controller (connect failure)"))
    with pytest.raises(EngineError, match="scontrol ping") as told:
        submit([], tmp_path / "0.sh")
    assert told.value.passes

    def late(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(slurm_commands.subprocess, "run", late)
    with pytest.raises(EngineError, match="no answer") as told:
        submit([], tmp_path / "0.sh")
    assert told.value.passes


def test_a_machine_without_slurm_is_refused_before_anything_begins(slurm_says, settings):
    slurm_says(sinfo=FileNotFoundError)
    with pytest.raises(EngineError, match=r"expected SLURM's commands on this machine, found no `sinfo`") as told:
        check_engine(settings)
    assert not told.value.passes
    check_engine(settings.model_copy(update={"executor": "multiprocess"}))


def test_the_usual_partition_counts_where_none_is_named(slurm_says, settings):
    called = slurm_says(sinfo="short|128|900000\nlong*|16|64000+\nlong*|32|48000\n")
    assert largest_node("") == (32, 64000)
    check_slurm(settings)
    (asked,) = [command for command in called if command[0] == "sbatch"]
    assert "--test-only" in asked
    slurm_says(sinfo="")
    with pytest.raises(SettingsError, match="expected a partition of this cluster, found nope"):
        largest_node("nope")
