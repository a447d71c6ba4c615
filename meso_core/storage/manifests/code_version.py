"""Which code is running: the package's version, and the commit where it comes from a checkout.

What belongs here: asking git, once per process, and the packages that take part.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Packages whose version can change a result.
SCIENCE_PACKAGES = ("meso", "numpy", "scipy", "suite2p", "torch", "tifffile", "iblatlas", "ONE-api", "sparse")


@dataclass(frozen=True, slots=True)
class CodeVersion:
    """The code that made a result."""

    #: Of the package meso; empty where it was not recorded.
    version: str = ""
    #: Of git; empty where the package does not come from a checkout.
    commit: str = ""
    #: Whether files of the checkout differed from the commit.
    dirty: bool = False

    def __str__(self) -> str:
        commit = f", commit {self.commit[:12]}{' with changes' if self.dirty else ''}" if self.commit else ""
        return f"meso {self.version}{commit}" if self.version else "a version of meso that was not recorded"


def package_versions(names: tuple[str, ...] = SCIENCE_PACKAGES) -> dict[str, str]:
    """Versions of the installed packages among ``names``."""
    from importlib import metadata

    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def code_version() -> CodeVersion:
    """Tell which code this process runs."""
    checkout = Path(__file__).resolve().parents[3]
    version = package_versions(("meso",)).get("meso", "")
    if not (checkout / ".git").exists():  # a folder, or a file in a worktree
        return CodeVersion(version)
    commit = _git(checkout, "rev-parse", "HEAD")
    changes = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", "meso_core", "meso_assets")
    return CodeVersion(version, commit or "", bool(changes) if commit else False)


def _git(checkout: Path, *arguments: str) -> str | None:
    """Ask git; None where there is none, or it does not trust the folder's owner."""
    try:
        asked = subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()
