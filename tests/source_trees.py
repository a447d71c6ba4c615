"""The syntax trees of our own modules, for the tests that read the source."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def source_tree(path: Path) -> ast.Module:
    """Parse a module, once in a process.

    Before Python 3.11.8 ``ast.parse`` counts its depth in one place for all threads, and a collection of garbage lets
    another thread in between: ``SystemError: AST constructor recursion depth mismatch`` (python/cpython#106905).
    Nothing is collected meanwhile.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(), filename=str(path))
    finally:
        if collects:
            gc.enable()
