"""The rooms of ``meso_core.location``: which may know which."""

from __future__ import annotations

import ast
from pathlib import Path

from source_trees import source_tree

import meso_core.location

#: From the first to the last; rooms in one text may know each other.
ROOMS = ("settings provenance", "atlas", "surface", "records project", "registered", "draw")


def test_each_room_of_location_knows_only_those_before_it():
    """Imports between the rooms, read from the source; a room may import itself."""
    folder = Path(meso_core.location.__file__).parent
    order = {room: place for place, rooms in enumerate(ROOMS) for room in rooms.split()}
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own not in order:  # the modules on top may know all rooms
            continue
        up = len(path.relative_to(folder).parts)
        for node in ast.walk(source_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.level == up and node.module:
                room = node.module.split(".")[0]
                assert order[room] <= order[own], f"{path.name} imports {node.module}"
