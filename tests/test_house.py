"""The rules of the house, kept by tests: imports are light, modules are short, a thing is said in one place.

Which module may import which is kept by the import linter (``[tool.importlinter]`` in ``pyproject.toml``).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
ALL = sorted(path for package in ("meso_core", "meso_assets") for path in (REPOSITORY / package).rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (REPOSITORY / "meso_core").glob("*/__init__.py"))


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_every_module_says_what_belongs_in_it_and_stays_short(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with a docstring"
    assert text.count("\n") <= 400


@pytest.mark.parametrize("name", ["_ibl_rawImagingData.meta.json", "rawImagingData.times_scanImage.npy"])
def test_the_name_of_a_bouts_file_is_written_in_one_module(name):
    modules = [
        path.relative_to(REPOSITORY).as_posix()
        for path in ALL
        if any(isinstance(n, ast.Constant) and n.value == name for n in ast.walk(ast.parse(path.read_text())))
    ]
    assert modules == ["meso_core/session/paths.py"]


def test_what_suite2ps_gui_rewrites_is_listed_once():
    wanted = {"iscell.npy", "stat.npy", "redcell.npy"}
    lists = [
        path.parent.name
        for path in ALL
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Set | ast.Tuple | ast.List)
        and wanted <= {n.value for n in node.elts if isinstance(n, ast.Constant)}
    ]
    assert lists == ["detection"]


def test_private_api_of_dagster_is_not_used():
    private = re.compile(r"\b(?:dagster\w*|dg)\._\w|from dagster\w* import .*\b_\w")
    assert [path.name for path in ALL if private.search(path.read_text())] == []


def loaded_by(statement: str, *, after: str = "sys") -> set[str]:
    """Modules that a statement loads in a fresh process, beside those that were there already."""
    code = f"import sys, {after}; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    return set(out.stdout.split())


def test_importing_the_core_loads_next_to_nothing():
    # a count, for a time depends on what else the machine does: numpy alone loads more than a hundred
    assert len(loaded_by("import meso_core")) <= 10


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_core_loads_no_package_but_numpy(room):
    loaded = {name.split(".")[0] for name in loaded_by(f"import meso_core.{room}", after="numpy.random")}
    assert loaded - sys.stdlib_module_names <= {"meso_core", "numpy"}


def test_every_public_name_of_the_core_can_be_had():
    import meso_core

    for name in meso_core.__all__:
        assert getattr(meso_core, name) is not None


@pytest.mark.parametrize("tool", ["ruff", "codespell"])
def test_a_hook_uses_the_version_that_lint_uses(tool):
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    (version,) = re.findall(rf"^{tool}==(.*)$", (REPOSITORY / "constraints.txt").read_text(), re.MULTILINE)
    assert re.findall(rf"/{tool}(?:-pre-commit)?\n +rev: v(.*)\n", hooks) == [version]
