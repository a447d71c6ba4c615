"""Errors of reference images, and what a person does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from damaged_files import Page, write_tif
from remedies_of_headers import LEAVE
from spoilt_session import (
    CONFIG,
    FIRST,
    METAS,
    SECOND,
    Act,
    Case,
    Spoilt,
    away,
    from_rig,
    setting,
)

from meso_core.scanimage.reference_images import reference_images
from meso_core.session import raw_tifs

REFERENCE = f"{FIRST}/reference"
STACK_FILE, IMAGES = f"{REFERENCE}/referenceImage.stack.tif", "reference_images.py: "
STACK = "move the reference folder out of the bout"


def references(it: Spoilt) -> int:
    out = it.session.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    chosen = {name: value for name, value in it.settings.items() if name.startswith("center")}
    return len(reference_images(it.session, out, **chosen))


def stack_of(content: bytes | np.ndarray) -> Act:
    import tifffile

    def spoil(it: Spoilt) -> None:
        file = it.session / STACK_FILE
        file.write_bytes(content) if isinstance(content, bytes) else tifffile.imwrite(file, content)

    return spoil


def changes_meanwhile(it: Spoilt) -> None:
    whole = shutil.copyfileobj

    def late(source: Any, target: Any, *more: Any) -> None:
        whole(source, target, *more)
        with Path(source.name).open("ab") as file:
            file.write(b"more")

    it.patch.setattr("shutil.copyfileobj", late)


def has_finished(it: Spoilt) -> None:
    it.patch.undo()
    it.from_rig(REFERENCE)


def only_the_first_depth(it: Spoilt) -> None:
    (tif,) = raw_tifs(it.session / REFERENCE)
    write_tif(tif, CONFIG, [Page(0, 0)])


def raw_stack(change: Callable[[bytes], bytes]) -> Act:
    def spoil(it: Spoilt) -> None:
        (tif,) = raw_tifs(it.session / REFERENCE)
        tif.write_bytes(change(tif.read_bytes()))

    return spoil


def reference(at: str, spoil: Act, says: str, follow: Act, left: int = 2, then: str = "") -> Case:
    return Case(at, spoil, says, follow, left, references, then)


CUT = raw_stack(lambda data: data[:-9])
OTHER_ZS = raw_stack(lambda data: data.replace(b"hStackManager.zs = [100 130]", b"hStackManager.zs = [abc def]"))
EMPTY = lambda it: [tif.unlink() for tif in raw_tifs(it.session / REFERENCE)]  # noqa: E731
REFERENCES = {
    "no reference": reference(
        f"{IMAGES}reference_images",
        away(REFERENCE, f"{SECOND}/reference"),
        "Copy the reference folder",
        from_rig(REFERENCE),
        1,
    ),
    "an empty reference folder": reference(f"{IMAGES}_raw_stack", EMPTY, STACK, away(REFERENCE), 1),
    "two stacks": reference(
        f"{IMAGES}_raw_stack",
        lambda it: (it.session / REFERENCE / "x.tif").write_bytes(b"other"),
        "move the others away",
        away(f"{REFERENCE}/x.tif"),
    ),
    "a stack that is no tif": reference(
        f"{IMAGES}_check_raw", raw_stack(lambda _: b"no tif"), "Copy it from the rig again", from_rig(REFERENCE)
    ),
    "a stack cut short": reference(f"{IMAGES}_check_raw", CUT, STACK, away(REFERENCE), 1),
    "the only stack cut short": reference(
        f"{IMAGES}_check_raw",
        lambda it: (it.move_away(f"{SECOND}/reference"), CUT(it)),
        STACK,
        away(REFERENCE),
        then="do not run this asset",
    ),
    "a stack without a centre": reference(
        f"{IMAGES}_meta_of",
        lambda it: (it.move_away(*METAS), it.settings.clear()),
        "give center_ml and center_ap",
        setting(center_ml=1.0, center_ap=2.0),
    ),
    "a stack without a depth": reference(
        "reference_stack.py: _check_depths_are_there", only_the_first_depth, STACK, away(REFERENCE), 1
    ),
    "a stack of another layout": reference("scanner.py: _Header.depths", OTHER_ZS, LEAVE, away(REFERENCE), 1),
    "a stitched stack that is damaged": reference(
        f"{IMAGES}_opened_stack", stack_of(b"II*\0"), "Move it away", away(STACK_FILE)
    ),
    "a stitched stack that is no picture": reference(
        f"{IMAGES}read_stack", stack_of(np.zeros((2, 8, 8), np.complex64)), "Move it away", away(STACK_FILE)
    ),
    "a stack that changes meanwhile": reference(
        f"{IMAGES}_copied", changes_meanwhile, "Wait until the copy", has_finished
    ),
}
