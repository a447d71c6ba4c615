"""What MATLAB does to JSON.

What belongs here: reading around its habits. What does not: any field's meaning.
"""

from __future__ import annotations

from typing import Any


def as_list(value: object) -> list[Any]:
    """List of what MATLAB's JSON writes bare when there is only one."""
    return list(value) if isinstance(value, list | tuple) else [value]
