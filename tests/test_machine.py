"""What there is to use of a machine whose control group allows less than the hardware has."""

import pytest

from meso_core import machine


@pytest.fixture
def control_group(tmp_path, monkeypatch):
    """Function that writes the files of a control group of version 2."""

    def write(limit, used, inactive, cpu="max 100000"):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{used}\n")
        (tmp_path / "memory.stat").write_text(f"anon 5\nfile {inactive + 7}\ninactive_file {inactive}\n")
        (tmp_path / "cpu.max").write_text(f"{cpu}\n")
        names = ("memory.max", "memory.current", "memory.stat")
        monkeypatch.setattr(machine, "_MEMORY", (tuple(tmp_path / name for name in names),))
        monkeypatch.setattr(machine, "_CPU_QUOTA", tmp_path / "cpu.max")

    return write


def test_memory_is_what_the_control_group_leaves_and_read_files_are_not_lost(control_group):
    control_group(10**9, 9 * 10**8, 0)
    assert machine.memory_at_hand() == 10**8
    control_group(10**9, 9 * 10**8, 8 * 10**8)
    assert machine.memory_at_hand() == 9 * 10**8


def test_no_limit_leaves_what_the_kernel_has(control_group):
    control_group("max", 1, 0)
    assert machine.memory_in_all() > machine.memory_at_hand() > 10**8


def test_the_platform_runs_as_many_fovs_as_the_control_group_bears(control_group):
    from meso_assets.runs.settings.settings import load_settings

    control_group(10**9, 9 * 10**8, 0, cpu="100000 100000")
    settings = load_settings({"fov_memory_gb": 0.5})
    assert (settings.cores, settings.memory_gb, settings.parallel_fovs) == (1, 1.0, 1)
    assert load_settings({"fov_memory_gb": 0.5, "cores": 8}).parallel_fovs == 2, "what runs already is in the pool too"


def test_processes_fit_into_cores_and_memory():
    assert machine.side_by_side(4.0, cores=8, memory=64) == 8
    assert machine.side_by_side(4.0, cores=8, memory=9) == 2
    assert machine.side_by_side(4.0, cores=8, memory=2) == 1
