"""What the tests attack comes into the table of ``docs/attacks.md``, once, and under a kind."""

import ast
from pathlib import Path

import pytest
from attack_records import Record, table
from source_trees import source_tree

from tests.attacks import PARTS

TESTS = Path(__file__).parent
#: Its rows are those of the scripts.
BY_SCRIPTS = {TESTS / "integration" / "test_kills.py"}


def rows_tried(file):
    """Names of rows that the tests of a file count; what is filled in later is a dot."""
    calls = [node for node in ast.walk(source_tree(file)) if isinstance(node, ast.Call) and node.args]
    names = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "tried"]
    return [
        "".join(part.value if isinstance(part, ast.Constant) else "." for part in getattr(name, "values", [name]))
        for name in names
        if isinstance(name, ast.Constant | ast.JoinedStr)
    ]


def attacking():
    """Files that count what they try."""
    return {file: rows for file in TESTS.rglob("test_*.py") if (rows := rows_tried(file))}


def test_each_file_that_attacks_is_in_one_part_and_each_part_attacks():
    named = [TESTS.parent / name for part in PARTS.values() for name in part.tests]
    attack = set(attacking())
    parts = [[file for file in attack if file == one or one in file.parents] for one in named]
    assert all(parts), "a part that attacks nothing"
    in_parts = [file for files in parts for file in files]
    assert sorted(in_parts) == sorted(attack - BY_SCRIPTS)
    assert all((TESTS / "integration" / part.script[0]).is_file() for part in PARTS.values() if part.script)


def test_each_row_has_a_kind():
    rows = [row for rows in attacking().values() for row in rows]
    assert len(rows) > 20
    assert [Record(row, 1).row for row in rows] == rows
    with pytest.raises(ValueError, match="kind: what"):
        Record("losses of power", 1)


def test_records_of_a_row_add_up_and_each_kind_has_its_sum():
    records = [Record("a: x", 2, commit="c"), Record("a: x", 3, ("why",), 1, "d"), Record("a: y", 4, commit="c")]
    told = table(records).splitlines()
    assert told[2:5] == ["| **a** | **all** | **9** | **8** | 1 |", "| a | x | 5 | 4 | why |", "| a | y | 4 | 4 | 0 |"]
    assert told[-1] == "Commits: `c`, `d`"
