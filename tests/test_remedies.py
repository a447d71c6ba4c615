"""What messages tell a person to do can be done: a setting is named by the variable that gives it."""

import ast
import re
from pathlib import Path

import pytest

import meso_assets
import meso_core
from meso_assets.runs.settings.settings import MesoSettings

FILES = [
    file
    for package in (meso_core, meso_assets)
    for file in sorted(Path(package.__file__).parent.rglob("*.py"))
    if "simulate" not in file.parts
]
#: Names that are no common word, and the words for settings that have no such name.
NAMED = re.compile("|".join([*(rf"\b{name}\b" for name in MesoSettings.model_fields if "_" in name), r"\bsettings?\b"]))
#: Say what is to be done in another place than the settings of meso.
ELSEWHERE = (
    "in the environment of the program, not in a file of settings",
    "suite2p's list of settings",
    "or settings",
)


def remedies(file):
    """Text of each remedy of a module, a name in braces for what is put in."""
    for node in ast.walk(ast.parse(file.read_text())):
        given = []
        if isinstance(node, ast.Call):
            given = [word.value for word in node.keywords if word.arg == "remedy"]
        elif isinstance(node, ast.Assign):
            given = [node.value] if any("remedy" in ast.unparse(one).lower() for one in node.targets) else []
        for value in given:
            parts = [
                one.value for one in ast.walk(value) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            yield from ([" ".join(parts)] if parts else [])


def test_there_are_remedies():
    assert sum(len(list(remedies(file))) for file in FILES) > 200


@pytest.mark.parametrize("told", ["Check badframes.mat, or leave it out (left_out_fovs)", "Correct the setting"])
def test_a_setting_without_its_variable_would_be_found(told):
    assert NAMED.search(told)
    assert "MESO_" not in told


def test_a_remedy_that_names_a_setting_names_its_variable():
    odd = [
        f"{file.name}: {told}"
        for file in FILES
        for told in remedies(file)
        if NAMED.search(told) and "MESO_" not in told and not any(text in told for text in ELSEWHERE)
    ]
    assert odd == []
