"""What README, docs and docstrings show works: examples run, commands parse, and the files they name are there."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from meso_assets.cli import group

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(REPOSITORY).as_posix(): path.read_text()
    for path in (*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"))
}
#: ``(word behind the fence, text)`` of each fenced block.
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
WITH_EXAMPLES = [page for page, text in PAGES.items() if "```python" in text]
MODULES_WITH_EXAMPLES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for package in ("meso_core", "meso_assets")
    for path in sorted((REPOSITORY / package).rglob("*.py"))
    if ">>> " in path.read_text()
]
#: What stands in the pages for what a lab has and the test has not: another folder, the real atlas, a server.
IN_PAGES = {
    "/data/Subjects/SP035/2023-03-03/001": "{session}",
    "/tmp/sessions": "{elsewhere}",
    'atlas="mri_toronto", resolution_um=10': 'atlas="phantom", resolution_um=50, cache_folder="{elsewhere}"',
    '"https://alyx.example.org", user="…", password="…"': '"{alyx}", user="experimenter", password="let-me-in"',
}


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    """Simulated session with an archive, and with locations as if they were made with the real atlas."""
    from meso_core.archive import compress_to_zarr
    from meso_core.location import LocationSettings, load_atlas, locate_fovs, locations_to_json
    from meso_core.scanimage import load_meta_files
    from meso_core.simulate import preset, simulate_session

    folder = tmp_path_factory.mktemp("docs")
    config = dataclasses.replace(preset("tiny"), subject="SP035", date="2023-03-03", number="001")
    session = simulate_session(folder / "Subjects", config).session_path
    compress_to_zarr(session / "raw_imaging_data_00")
    meta, _ = load_meta_files(session)
    settings = LocationSettings(atlas="phantom", resolution_um=50, cache_folder=folder / "cache")
    locations = locate_fovs(meta, load_atlas(settings), settings=settings).locations
    (session / "alf").mkdir()
    real = dataclasses.replace(locations.atlas, name="allen", phantom=False)
    (session / "alf" / "fovs.locations.json").write_text(locations_to_json(dataclasses.replace(locations, atlas=real)))
    return session


@pytest.fixture
def alyx() -> Iterator[str]:
    """Address of a server that knows the session and speaks as Alyx does."""
    from tests.alyx.standin import Given, serving

    with serving() as server:
        given = Given(server.url, stand_in=server)
        given.a_lab()
        given.subject("SP035")
        given.session("SP035", "2023-03-03", 1)
        given.close()
        yield server.url


@pytest.mark.filterwarnings("ignore:Numcodecs codecs")  # the page tells that zarr says so
@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_the_examples_of_a_page_run_one_after_the_other(page, processed, alyx, tmp_path):
    names: dict[str, object] = {}
    for kind, code in FENCED.findall(PAGES[page]):
        if kind == "python":
            for shown, here in IN_PAGES.items():
                code = code.replace(shown, here.format(session=processed, elsewhere=tmp_path, alyx=alyx))
            exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("name", MODULES_WITH_EXAMPLES)
def test_the_examples_of_a_docstring_give_what_they_show(name, tmp_path):
    runner, failures = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), []
    for test in doctest.DocTestFinder().find(importlib.import_module(name), extraglobs={"folder": tmp_path}):
        assert not any(doctest.SKIP in example.options for example in test.examples), f"{test.name} skips"
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


def commands(text: str, program: str) -> list[list[str]]:
    """Command lines of a page that begin with ``program``: lines of blocks, and code within the text."""
    lines = [line for kind, block in FENCED.findall(text) if kind != "python" for line in block.splitlines()]
    lines += INLINE.findall(FENCED.sub("", text))
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True)[1:] for part in parts if part.startswith(f"{program} ")]


MESO_COMMANDS = {
    shlex.join(args): (page, args)
    for page, text in PAGES.items()
    if page != "CHANGELOG.md"  # what it names may be gone
    for args in commands(text, "meso")
}


@pytest.mark.parametrize(("page", "args"), MESO_COMMANDS.values(), ids=MESO_COMMANDS)
def test_a_command_of_a_page_is_one_that_meso_takes(page, args):
    context = click.Context(group, info_name="meso")
    if args == ["--version"]:
        return
    name, command, rest = group.resolve_command(context, args)
    if rest:  # a command that is only named may want more
        command.make_context(name, rest, parent=context)


def test_a_target_of_make_that_a_page_names_is_there():
    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {args[0] for text in PAGES.values() for args in commands(text, "make")}
    assert {"demo", "dev", "test", "lint", "docs", "bench"} <= named <= targets


def test_a_file_of_this_repository_that_a_page_names_is_there():
    named = {
        (page, path)
        for page, text in PAGES.items()
        if page != "CHANGELOG.md"
        for path in re.findall(r"`((?:meso_core|meso_assets|tests|docs|benchmarks|\.github|\.ci)/[\w./-]*)", text)
    }
    assert named
    assert [(page, path) for page, path in sorted(named) if not (REPOSITORY / path).exists()] == []


def test_a_module_of_the_core_that_a_page_names_is_there():
    named = {name for text in PAGES.values() for name in re.findall(r"\bmeso_core(?:\.\w+)+", text)}
    assert named
    for name in sorted(named):
        module, _, rest = name.removeprefix("meso_core.").partition(".")
        found = importlib.import_module(f"meso_core.{module}")
        if rest:
            assert hasattr(found, rest), name


def test_the_changelog_has_what_is_not_released_on_top_and_dated_releases_below():
    headings = re.findall(r"^## (.*)$", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]
    assert all(dates)
    assert (days := [date[1] for date in dates]) == sorted(days, reverse=True)
