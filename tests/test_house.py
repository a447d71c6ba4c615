"""The rules of the house, kept by tests: arrows point one way, imports are light, modules are short."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CORE = sorted((REPOSITORY / "meso_core").rglob("*.py"))
ALL = CORE + sorted((REPOSITORY / "meso_assets").rglob("*.py"))
HEAVY = {"torch", "suite2p", "numba", "matplotlib", "iblatlas", "scipy", "pandas", "sparse", "tifffile", "zarr", "one"}


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_the_core_knows_nothing_of_the_platform(path):
    assert not imported(ast.parse(path.read_text())) & {"dagster", "meso_assets"}


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


def seconds_to_import(statement: str) -> float:
    """Best of three fresh processes, interpreter start included."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True, cwd=REPOSITORY)
        times.append(time.perf_counter() - start)
    return min(times)


def test_the_core_imports_in_half_a_second():
    ours, numpy = seconds_to_import("import meso_core"), seconds_to_import("import numpy")
    # both pay for the interpreter; on a machine busy enough to slow a bare numpy, the budget grows alike
    assert ours < max(0.5, 2 * numpy), f"import meso_core {ours:.2f} s, import numpy {numpy:.2f} s"


def test_the_core_imports_nothing_heavy():
    code = "import sys, meso_core; print(*{m.split('.')[0] for m in sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=REPOSITORY)
    assert not set(out.stdout.split()) & HEAVY


def test_every_public_name_of_the_core_can_be_had():
    import meso_core

    for name in meso_core.__all__:
        assert getattr(meso_core, name) is not None
