"""The roots of sessions as a person names them: one, or several disks and servers.

What belongs here: reading what `MESO_ROOT` says. What does not: opening a root (``meso_core.storage``).
"""

from __future__ import annotations

from pathlib import Path

#: Between roots, in a variable.
BETWEEN = ";"


def parse_root(value: object) -> Path | str | tuple[Path | str, ...]:
    """Read one root, or several: a list, or a text with ``;`` between them.

    Parameters
    ----------
    value
        What the settings say.

    Returns
    -------
    pathlib.Path, str or tuple
        A folder, as an absolute path; a URL as text; of several, all of them.

    Raises
    ------
    ValueError
        If one is empty, or one lies in another, for the sessions of that would be found twice.
    """
    listed = isinstance(value, list | tuple)
    texts = [str(one) for one in value] if isinstance(value, list | tuple) else str(value).split(BETWEEN)
    if not listed and len(texts) > 1:
        texts = [text.strip() for text in texts]
    roots = tuple(_one(text) for text in texts)
    if not roots or any(not str(text).strip() for text in texts):
        raise ValueError("empty, which would mean the working directory: give a path, or leave the setting out")
    if len(roots) == 1:
        return roots[0]
    for root in roots:
        if BETWEEN in str(root):
            raise ValueError(f"a {BETWEEN} in the name of {root}, which separates roots: rename the folder")
        if other := next((other for other in roots if other is not root and _is_within(str(root), str(other))), None):
            raise ValueError(f"{root} lies in {other}: its sessions would be found twice; name one of them")
    return roots


def told_roots(root: Path | str | tuple[Path | str, ...]) -> str:
    """Return the roots as a variable has them."""
    return BETWEEN.join(map(str, root)) if isinstance(root, tuple) else str(root)


def _one(text: str) -> Path | str:
    scheme, separator, rest = text.partition("://")
    if separator and scheme != "file":
        from meso_core.storage.remote.servers.filesystem import parse_url  # only then, for what it imports

        return "://".join(parse_url(text))
    return Path(rest if separator else text).expanduser().absolute()


def _is_within(root: str, other: str) -> bool:
    return root == other or root.startswith(f"{other.rstrip('/')}/")
