"""The rules of the house, kept by tests: imports are light, modules are short, a thing is said in one place.

Which module may import which is kept by the import linter (``[tool.importlinter]`` in ``pyproject.toml``).
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from source_trees import source_tree

REPOSITORY = Path(__file__).resolve().parents[1]
ALL = sorted(path for package in ("meso_core", "meso_assets") for path in (REPOSITORY / package).rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (REPOSITORY / "meso_core").glob("*/__init__.py"))


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_every_module_says_what_belongs_in_it_and_stays_short(path):
    text = path.read_text()
    assert ast.get_docstring(source_tree(path)), "a module opens with a docstring"
    assert text.count("\n") <= 400


def test_a_room_has_few_modules_side_by_side():
    """A full one gets rooms of its own; the command has a module for each verb."""
    counts = Counter(path.parent.relative_to(REPOSITORY).as_posix() for path in ALL if path.name != "__init__.py")
    assert {room: n for room, n in counts.items() if n > 14} == {"meso_assets/cli": counts["meso_assets/cli"]}


@pytest.mark.parametrize("name", ["_ibl_rawImagingData.meta.json", "rawImagingData.times_scanImage.npy"])
def test_the_name_of_a_bouts_file_is_written_in_one_module(name):
    modules = [
        path.relative_to(REPOSITORY).as_posix()
        for path in ALL
        if any(isinstance(n, ast.Constant) and n.value == name for n in ast.walk(source_tree(path)))
    ]
    assert modules == ["meso_core/session/paths.py"]


def test_what_suite2ps_gui_rewrites_is_listed_once():
    wanted = {"iscell.npy", "stat.npy", "redcell.npy"}
    lists = [
        path.parent.name
        for path in ALL
        for node in ast.walk(source_tree(path))
        if isinstance(node, ast.Set | ast.Tuple | ast.List)
        and wanted <= {n.value for n in node.elts if isinstance(n, ast.Constant)}
    ]
    assert lists == ["detection"]


def test_private_api_of_dagster_is_used_by_the_one_module_that_hands_steps_to_other_machines():
    private = re.compile(r"\b(?:dagster\w*|dg)\._\w|from dagster\w* import .*\b_\w")
    assert [path.name for path in ALL if private.search(path.read_text())] == ["delegating.py"]


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


#: Calls by which a program reads or writes files.
_OPENS = {
    "open",
    "read_text",
    "read_bytes",
    "load",
    "memmap",
    "fromfile",
    "loadmat",
    "read_csv",
    "imread",
    "FileIO",
    "fdopen",
}
_WRITES = {"write_text", "write_bytes", "tofile", "savez", "imwrite", "mkdir", "makedirs", "copy2", "copyfile", "touch"}
#: Who does so besides ``opening`` and ``storage.files.atomic``, and why.
_MAY = {
    "meso_core/alyx/sending/note_pictures.py": "pictures in memory",
    "meso_core/archive/atomic.py": "the locked part of an archive, which takes its name when it is whole",
    "meso_core/archive/delivered.py": "a view of links in a temporary folder",
    "meso_core/archive/gate/on_server/view.py": "what a server holds, shown by name and size in a temporary folder",
    "meso_core/archive/gate/log.py": "a log that only grows, line by line",
    "meso_core/archive/untrusted.py": "opens archives, whose links are not followed",
    "meso_core/archive/zarr/write.py": "shards of an archive, in a folder that takes its name when it is whole",
    "meso_core/imaging/fovs/objects.py": "its own unpickler, on bytes",
    "meso_core/imaging/fovs/plane.py": "maps movies that it found to be plain files",
    "meso_core/imaging/fovs/worker.py": "standard output, and the log of suite2p",
    "meso_core/lineage/crate.py": "a copy for others, in a folder that a person names",
    "meso_core/report/draw/movie.py": "a movie in memory",
    "meso_core/lineage/verdicts.py": "logs that only grow, line by line",
    "meso_core/location/atlas/annotation.py": "the atlas, a file of the lab",
    "meso_core/location/atlas/nrrd.py": "the atlas, a file of the lab",
    "meso_core/location/atlas/volumes.py": "the cache of the atlas",
    "meso_core/location/surface/mesh.py": "a mesh, a file of the lab",
    "meso_core/machine.py": "what the system says of itself",
    "meso_core/pictures.py": "pictures in memory",
    "meso_core/processes.py": "what the system says of itself",
    "meso_core/report/draw/svg.py": "pictures in memory",
    "meso_core/scanimage/frames/binaries.py": "movies that take their names when all are whole",
    "meso_core/scanimage/reference_images.py": "tifffile, on a file that was opened, or beside its place",
    "meso_core/storage/alf.py": "tables and masks, on bytes or on a file that was opened",
    "meso_core/storage/files/locks.py": "locks",
    "meso_core/storage/remote/servers/filesystem.py": "folders of a server",
    "meso_core/storage/remote/mirrors/known_hashes.py": "lines of the mirror, which only grow",
    "meso_core/storage/remote/mirrors/mirror.py": "records of the mirror, beside their places",
    "meso_core/storage/remote/servers/sftp.py": "files of a server",
    "meso_core/storage/remote/transfers/download.py": "what arrives in pieces, beside its place",
    "meso_core/storage/remote/mirrors/scratch.py": "locks",
    "meso_core/timing/mat_files.py": "MAT-files, on bytes",
    "meso_assets/overview/page.py": "style and script of the page, which lie beside it",
    "meso_assets/assets/archive.py": "empty folders in the view of links",
}
_DOORS = ("meso_core/opening.py", "meso_core/storage/files/atomic.py", "meso_core/storage/files/hashing.py")


def file_calls(path: Path) -> set[str]:
    """Names of calls that read or write files, but for those of our own objects (``Platform.open``)."""
    found = set()
    for node in ast.walk(source_tree(path)):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            on = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
            if name in _OPENS | _WRITES and on not in ("Alyx", "Platform", "staging", "self", "movie"):
                found.add(name)
    return found


def test_files_of_sessions_are_opened_and_written_in_one_way_but_where_a_reason_is_given():
    others = ("simulate", "runs", "cli", "web")  # what is true beside a session, and the platform's own home
    modules = {path.relative_to(REPOSITORY).as_posix(): path for path in ALL if not {*others} & {*path.parts}}
    assert {name for name, path in modules.items() if file_calls(path)} - {*_DOORS} == {*_MAY}


def test_no_pickle_is_read_but_by_the_reader_that_runs_nothing():
    readers = [
        path.relative_to(REPOSITORY).as_posix()
        for path in ALL
        for node in ast.walk(source_tree(path))
        if (isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False")
        or (
            isinstance(node, ast.Attribute) and ast.unparse(node) in ("pickle.load", "pickle.loads", "pickle.Unpickler")
        )
    ]
    assert readers == ["meso_core/imaging/fovs/objects.py"]
