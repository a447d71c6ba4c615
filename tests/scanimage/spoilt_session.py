"""A session that a test may spoil as a person meets it, with the rig's copy beside it."""

from __future__ import annotations

import ast
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damaged_files
import pytest
from damaged_files import Page, write_rig_files, write_tif
from scanimage_files import small_config
from source_trees import source_tree

from meso_core import scanimage
from meso_core.scanimage import BoutSource, bin_per_plane, extract_imaging_meta, load_session_metadata, local_bouts
from meso_core.session import IMAGING_META_FILE, IMAGING_TIMES_FILE, raw_tifs
from meso_core.simulate.files.header import frame_data, roi_groups_text

ROOM = Path(scanimage.__file__).parent
#: Two ROIs at two depths: frames 0, 2, 4 are of FOV 0.
CONFIG = small_config(((16, 16), (17, 16)), zs=(100.0, 130.0))
CENTER = {"center_ml": 2.6, "center_ap": -2.0}
N = 6
#: Places in the 20 bytes of an entry of a page's directory; the 18 entries follow 8 bytes, then comes the next page.
HEIGHT, COMPRESSION, DESCRIPTION, STRIP, N_TAGS = 1, 3, 5, 6, 18


def name_of(number: int) -> str:
    return f"rec_00001_{number + 1:05d}.tif"


@dataclass
class Spoilt:
    """The session, the rig's copy, and what else a case changes."""

    session: Path
    patch: pytest.MonkeyPatch
    #: Arguments of the next attempt, and anything else that a case keeps for it.
    settings: dict[str, Any] = field(default_factory=lambda: dict(CENTER))
    kept: Any = None

    @property
    def rig(self) -> Path:
        return self.session.with_name("rig")

    @property
    def bouts(self) -> tuple[Path, Path]:
        return self.session / "raw_imaging_data_00", self.session / "raw_imaging_data_01"

    @property
    def bout(self) -> Path:
        return self.bouts[0]

    @property
    def tif(self) -> Path:
        return self.bout / name_of(0)

    def move_away(self, *names: str) -> None:
        """Move files or folders of the session out of it."""
        for name in names:
            target = self.session.with_name("away") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self.session / name, target)

    def from_rig(self, *names: str) -> None:
        """Copy files or folders from the rig again."""
        for name in names:
            there, source = self.session / name, self.rig / name
            shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
            shutil.copytree(source, there) if source.is_dir() else shutil.copy2(source, there)

    def edit_meta(self, change: Callable[[dict[str, Any]], Any], *, both: bool = True) -> None:
        """Change the metadata file of the first bout, or of both."""
        for bout in self.bouts[: 1 + both]:
            meta = json.loads((bout / IMAGING_META_FILE).read_text())
            meta = change(meta) or meta
            (bout / IMAGING_META_FILE).write_text(json.dumps(meta))

    def without_meta(self) -> None:
        """Leave the first bout without the rig's metadata files."""
        for name in (IMAGING_META_FILE, IMAGING_TIMES_FILE):
            (self.bout / name).unlink()

    def write_tifs(self, *, lines: dict[str, str | None] | None = None, groups: Callable | None = None) -> None:
        """Write the tifs of the first bout with other header lines (None: without that one) or ROI groups."""

        def header(config: Any, geometry: Any) -> str:
            told = dict(line.partition(" = ")[::2] for line in frame_data(config, geometry).splitlines())
            told.update({f"SI.{name}": value for name, value in (lines or {}).items()})
            return "".join(f"{name} = {value}\n" for name, value in told.items() if value is not None)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(damaged_files, "frame_data", header)
            if groups is not None:
                patch.setattr(damaged_files, "roi_groups_text", lambda config: groups(roi_groups_text(config)))
            write_tifs(self.bout)

    def put(self, page: int, at: int, data: bytes, tif: Path | None = None) -> None:
        """Write bytes into the directory of a page of the first tif."""
        tif = tif or self.tif
        with tif.open("r+b") as file:
            file.seek(self.directory(page, tif) + at)
            file.write(data)

    def put_tag(self, page: int, tag: int, value: int, tif: Path | None = None) -> None:
        """Write the value of a tag, told by its place, of a page of the first tif."""
        self.put(page, 8 + 20 * tag + 12, struct.pack("<Q", value), tif)

    def directory(self, page: int, tif: Path | None = None) -> int:
        """Place of the directory of a page."""
        data = (tif or self.tif).read_bytes()
        (offset,) = struct.unpack("<Q", data[8:16])
        for _ in range(page):
            (offset,) = struct.unpack("<Q", data[offset + 8 + 20 * N_TAGS :][:8])
        return int(offset)


def write_tifs(bout: Path, config: Any = CONFIG, n: int = N, per_tif: int = N // 2) -> None:
    """Write the tifs of a bout; each pixel holds ten times its frame number."""
    for tif in bout.glob("*.tif"):
        tif.unlink()
    for number in range(n // per_tif):
        frames = range(number * per_tif, (number + 1) * per_tif)
        write_tif(bout / name_of(number), config, [Page(f, c) for f in frames for c in range(len(config.channels))])


def write_session(folder: Path) -> None:
    """Write two bouts of two tifs with the rig's metadata, and a reference stack of each."""
    for number in range(2):
        bout = folder / f"raw_imaging_data_{number:02d}"
        write_tifs(bout)
        meta, _ = extract_imaging_meta(raw_tifs(bout), *CENTER.values())
        write_rig_files(bout, meta, N, 1)
        write_tif(bout / "reference" / "ref_00001_00001.tif", CONFIG, [Page(0, 0), Page(1, 0)])


def process(it: Spoilt) -> tuple[int, ...]:
    """Take a session up to its movies; returns the frames of the first FOV by bout."""
    settings = {**it.settings}
    metadata = it.kept or load_session_metadata(it.session, **settings)
    frames = {bout.name: bout.frame_index for bout in metadata.bouts}
    sources = [BoutSource(b.name, b.tifs, b.n_pages, frames[b.name]) for b in local_bouts(it.session)]
    return bin_per_plane(sources, metadata.imaging, it.session.with_name("out"))[0].frames_per_bout


def site(error: BaseException) -> str:
    """Module and function of the room in which an error was raised."""
    found, at = "", error.__traceback__
    while at is not None:
        path = Path(at.tb_frame.f_code.co_filename)
        if ROOM in path.parents:
            found = f"{path.relative_to(ROOM)}: {at.tb_frame.f_code.co_qualname}"
        at = at.tb_next
    return found


def error_sites() -> list[str]:
    """Module and function of each ``raise`` of the room but those of an error that is being handled."""
    return [f"{path.relative_to(ROOM)}: {name}" for path in sorted(ROOM.rglob("*.py")) for name in _raises(path)]


def _raises(path: Path) -> Iterator[str]:
    def walk(node: ast.AST, names: tuple[str, ...]) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            inner = (*names, child.name) if isinstance(child, ast.FunctionDef | ast.ClassDef) else names
            if isinstance(child, ast.Raise) and child.exc is not None:
                yield ".".join(names)
            yield from walk(child, inner)

    return walk(source_tree(path), ())


Act = Callable[[Spoilt], Any]
FIRST, SECOND = "raw_imaging_data_00", "raw_imaging_data_01"
METAS = tuple(f"{bout}/{IMAGING_META_FILE}" for bout in (FIRST, SECOND))
TIMES = f"{FIRST}/{IMAGING_TIMES_FILE}"


@dataclass(frozen=True)
class Case:
    """What is wrong with a session, what the message says to do, doing it, and what is left then."""

    #: Module and function of the room in which the error is raised.
    at: str
    spoil: Act
    says: str
    follow: Act
    #: What the attempt gives in the end: frames of the first FOV by bout, unless it is another attempt.
    left: Any = (3, 3)
    attempt: Act = process
    #: Words of another cause that the remedy reaches, in place of a result.
    then: str = ""


def nothing(_: Spoilt) -> None:
    """The remedy is a setting, or is over by itself."""


def away(*names: str) -> Act:
    return lambda it: it.move_away(*names)


def from_rig(*names: str) -> Act:
    return lambda it: it.from_rig(*names)


def setting(**values: Any) -> Act:
    return lambda it: it.settings.update(values)
