"""Errors of tifs, pages and frames, and what a person does."""

from __future__ import annotations

import os
import shutil

from damaged_files import Page, write_tif
from scanimage_files import small_config, write_bout
from spoilt_session import (
    COMPRESSION,
    CONFIG,
    DESCRIPTION,
    FIRST,
    HEIGHT,
    METAS,
    N_TAGS,
    SECOND,
    STRIP,
    TIMES,
    Act,
    Case,
    Spoilt,
    away,
    from_rig,
    name_of,
    nothing,
    setting,
    write_tifs,
)

from meso_core.scanimage import (
    LocalTif,
    ScanImageTif,
    StreamedTif,
    bin_per_plane,
    extract_imaging_meta,
    load_session_metadata,
    local_bouts,
    parse_imaging_metadata,
)
from meso_core.scanimage.tiff.pages import MOST_BEHIND_BYTES
from meso_core.session import raw_tifs


def foreign(it: Spoilt) -> None:
    """A tif of another recording: its fields are exchanged."""
    write_tif(it.bout / name_of(9), small_config(((17, 16), (16, 16)), zs=(100.0, 130.0)), [Page(6, 0)])


def another_header(it: Spoilt) -> None:
    write_tif(
        it.bout / name_of(9),
        CONFIG,
        [Page(6, 0)],
        **{"hScan2D.bidirectional": "false"},
    )


def tif_of(content: bytes) -> Act:
    return lambda it: (it.bout / name_of(9)).write_bytes(content)


def without_its_frame(it: Spoilt) -> None:
    write_tif(it.tif, CONFIG, [Page(0, 0), Page(2, 0)])


def one_channel_of_two(it: Spoilt) -> None:
    """Metadata of two channels, and tifs of one of them."""
    config = small_config(((16, 16),), channels=(2, 3))
    write_tif(it.session / "both" / name_of(0), config, [Page(f, c) for f in range(3) for c in (0, 1)])
    it.kept = parse_imaging_metadata(extract_imaging_meta([it.session / "both" / name_of(0)], 0.0, 0.0)[0])
    shutil.rmtree(it.session / "both")
    it.move_away(FIRST, SECOND)
    write_tif(it.bout / "rec_00001_00001_chn2.tif", config, [Page(f, 0) for f in range(3)])


def one_channel_twice(it: Spoilt) -> None:
    """Pages of two channels; those of the second frame hold the same pixels."""
    it.move_away(FIRST, SECOND)
    pages = write_bout(it.bout, small_config(((16, 16),), channels=(2, 3)), (6,))
    (tif,) = raw_tifs(it.bout)
    with tif.open("r+b") as file:
        file.seek(int(ScanImageTif(tif).data_offsets[3]))
        file.write(pages[2].tobytes())
    it.settings.update(damaged_frames="refuse")


def split_with_the_setting(it: Spoilt) -> tuple[int, ...]:
    imaging = load_session_metadata(it.session, **it.settings).imaging
    damaged = it.settings["damaged_frames"]
    out = it.session.with_name("out")
    return bin_per_plane(local_bouts(it.session), imaging, out, damaged_frames=damaged)[0].frames_per_bout


def split_as_told(it: Spoilt) -> tuple[int, ...]:
    imaging = it.kept or load_session_metadata(it.session, **it.settings).imaging
    return bin_per_plane(local_bouts(it.session), imaging, it.session.with_name("out"))[0].frames_per_bout


def forget(it: Spoilt) -> None:
    """Make the metadata again."""
    it.kept = None


def shorter_while_it_is_read(it: Spoilt) -> int:
    tif = LocalTif(ScanImageTif(it.tif))
    if it.kept is None:
        it.tif.write_bytes(it.tif.read_bytes()[:-10])
    return sum(len(block.heads) for block in tif.blocks())


def copy_has_finished(it: Spoilt) -> None:
    it.from_rig(f"{FIRST}/{name_of(0)}")
    it.kept = "whole"


def known_before(it: Spoilt) -> None:
    it.kept = load_session_metadata(it.session, **it.settings)
    without_its_frame(it)


def metadata_of_another_recording(it: Spoilt) -> None:
    folder = it.session.with_name("other") / FIRST
    write_tifs(folder, small_config(((20, 16), (17, 16)), zs=(100.0, 130.0)))
    meta = extract_imaging_meta(raw_tifs(folder), 0.0, 0.0)[0]
    it.edit_meta(lambda _: meta)


def stopped_at_once(it: Spoilt) -> None:
    """Of two depths only one was imaged; the rig has one tif more."""
    it.move_away(SECOND)
    it.without_meta()
    write_tifs(it.bout, n=2, per_tif=1)
    (it.bout / name_of(1)).rename(it.rig / FIRST / name_of(1))


def all_empty(it: Spoilt) -> None:
    it.without_meta()
    for tif in raw_tifs(it.bout):
        tif.write_bytes(b"")


def streamed(it: Spoilt) -> int:
    """Pages of the first tif as from an archive, or from disk once they were brought back."""
    tif = it.kept or StreamedTif(it.tif.name, lambda: it.tif.open("rb"))
    return sum(len(block.heads) for block in tif.blocks(1 << 20))


def brought_back(it: Spoilt) -> None:
    it.kept = LocalTif(it.tif)


def description_behind(it: Spoilt) -> None:
    """The text of the first page lies behind its pixels, at the end of the file."""
    data = it.tif.read_bytes()
    at = it.directory(0) + 8 + 20 * (N_TAGS) + 8
    it.tif.write_bytes(data + data[at : at + 2001])
    it.put_tag(0, DESCRIPTION, len(data))


def description_before(it: Spoilt) -> None:
    """The second page has the text of the first."""
    it.put_tag(1, DESCRIPTION, it.directory(0) + 8 + 20 * N_TAGS + 8)


def read_from(it: Spoilt) -> int:
    class Failing:
        def seek(self, *_: int) -> int:
            return 100

        def read(self, _: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    return ScanImageTif(it.tif, Failing() if it.kept is None else None).n_pages  # type: ignore[arg-type]


def first_page(tag: int, value: int) -> Act:
    return lambda it: it.put_tag(0, tag, value)


def tifs_with_a_page(it: Spoilt) -> int:
    return len([ScanImageTif(tif).page for tif in raw_tifs(it.bout)])


OUT = away(f"{FIRST}/{name_of(9)}")
FIRST_OUT = away(f"{FIRST}/{name_of(0)}")
#: Of the first bout, frames 3 to 5 are left.
RECOPY, ONE_LESS = "move it out of the bout's folder: the others are used", (1, 3)
IFD = "tiff/ifd.py: "
TIFS = {
    "a tif of other fields": Case("frames/acquisition.py: AcquisitionCheck.add", foreign, "Move tifs of other", OUT),
    "a tif of another header": Case(
        "frames/acquisition.py: AcquisitionCheck._compare_headers", another_header, "Move tifs of other", OUT
    ),
    "a full disk": Case(
        "frames/binaries.py: Movies.check_room",
        lambda it: it.patch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0)),  # type: ignore[attr-defined]
        "Free space",
        lambda it: it.patch.undo(),
    ),
    "missing frames, refused": Case(
        "frames/faults.py: tell_of_faults",
        lambda it: (without_its_frame(it), it.settings.update(damaged_frames="refuse")),
        "set MESO_DAMAGED_FRAMES=salvage",
        setting(damaged_frames="salvage"),
    ),
    "tifs of all channels and of one": Case(
        "frames/on_file.py: BoutPlacer.begin_tif",
        lambda it: shutil.copy(it.tif, it.bout / "rec_00001_00009_chn2.tif"),
        "Move tifs of other",
        away(f"{FIRST}/rec_00001_00009_chn2.tif"),
    ),
    "a channel without tifs": Case(
        "frames/on_file.py: BoutPlacer.frames",
        one_channel_of_two,
        "move the metadata file away",
        forget,
        (3,),
        split_as_told,
    ),
    "more pages than promised": Case(
        "frames/on_file.py: check_promise",
        lambda it: ((it.session / TIMES).unlink(), it.edit_meta(lambda meta: meta.update(nFrames=3), both=False)),
        "move the metadata file away",
        away(METAS[0]),
    ),
    "a tif twice": Case(
        "frames/placement.py: Placer.end_tif",
        lambda it: shutil.copy(it.tif, it.bout / name_of(9)),
        "Move the tif that is there twice out",
        OUT,
    ),
    "tifs not in order": Case(
        "frames/placement.py: Placer.end_tif",
        lambda it: it.tif.rename(it.bout / name_of(9)),
        "name the tifs in their order",
        lambda it: (it.bout / name_of(9)).rename(it.tif),
    ),
    "a tif that shrinks": Case(
        "frames/sources.py: LocalTif._read",
        nothing,
        "Wait until the copy from the rig has finished",
        copy_has_finished,
        3,
        shorter_while_it_is_read,
    ),
    "pages that differ from the list": Case(
        "frames/split.py: _BoutSplit._check", known_before, "Make the imaging metadata again", forget
    ),
    "one channel twice, refused": Case(
        "frames/split.py: _Twins.tell",
        one_channel_twice,
        "Set MESO_DAMAGED_FRAMES=salvage",
        setting(damaged_frames="salvage"),
        (3,),
        split_with_the_setting,
    ),
    "metadata of another recording": Case(
        "frames/split.py: _check_shape", metadata_of_another_recording, "move that away", away(*METAS)
    ),
    "no whole volume": Case(
        "frames/split.py: _check_no_fov_is_empty",
        stopped_at_once,
        "Copy the missing tifs from the rig",
        from_rig(f"{FIRST}/{name_of(1)}"),
        (1,),
    ),
    "a stream that must go back for a text": Case(
        "frames/stream.py: _Forward.fetch", description_before, "Bring the tifs back", brought_back, 3, streamed
    ),
    "a stream that must go back for pixels": Case(
        "frames/stream.py: _Forward._page", description_behind, "Bring the tifs back", brought_back, 3, streamed
    ),
    "no tif with a whole page": Case(
        "metadata/extract.py: _first_whole", all_empty, "move the bout's folder out of the session", away(FIRST), (3,)
    ),
    "no recording": Case(f"{IFD}first_directory", tif_of(b"no tif" * 9), RECOPY, OUT),
    "a picture": Case(f"{IFD}first_directory", tif_of(b"II*\0" + bytes(60)), "Move files that are no recordings", OUT),
    "an old recording": Case(
        f"{IFD}first_directory", tif_of(b"II*\0" + bytes(60) + b"scanimage.SI"), "or move it out of the bout", OUT
    ),
    "too many tags": Case(f"{IFD}read_page", lambda it: it.put(0, 0, b"\xff\xff\xff\0"), RECOPY, FIRST_OUT, ONE_LESS),
    "a chain that goes back": Case(
        f"{IFD}read_page", lambda it: it.put(0, 8 + 20 * N_TAGS, b"\x10" + bytes(7)), RECOPY, FIRST_OUT, ONE_LESS
    ),
    "no height": Case(f"{IFD}read_page", first_page(HEIGHT, 0), RECOPY, FIRST_OUT, ONE_LESS),
    "compressed": Case(f"{IFD}read_page", first_page(COMPRESSION, 5), RECOPY, FIRST_OUT, ONE_LESS),
    "no tag of the height": Case(
        f"{IFD}_Tags.number", lambda it: it.put(0, 8 + 20 * HEIGHT, b"\xff\xff"), RECOPY, FIRST_OUT, ONE_LESS
    ),
    "no pixels": Case(f"{IFD}_Tags.strip_start", first_page(STRIP, 0), RECOPY, FIRST_OUT, ONE_LESS),
    "damage that a copy mends": Case(
        f"{IFD}_Tags.strip_start",
        first_page(STRIP, 0),
        "Copy the file from the rig again",
        from_rig(f"{FIRST}/{name_of(0)}"),
    ),
    "no frame numbers": Case(
        f"{IFD}first_frame",
        lambda it: it.tif.write_bytes(it.tif.read_bytes().replace(b"frameNumbers", b"frameXumbers")),
        RECOPY,
        FIRST_OUT,
        ONE_LESS,
    ),
    "no header of ScanImage": Case(
        f"{IFD}check_scanimage",
        lambda it: it.tif.write_bytes(it.tif.read_bytes().replace(b"SI.", b"XY.")),
        "Move files that are no recordings",
        FIRST_OUT,
        ONE_LESS,
    ),
    "a disk that fails": Case(
        "tiff/pages.py: ScanImageTif.__init__",
        nothing,
        "Copy the file from the rig again, to another disk",
        copy_has_finished,
        3,
        read_from,
    ),
    "no page at all": Case(
        "tiff/ifd.py: first_directory", lambda it: it.tif.write_bytes(b""), RECOPY, FIRST_OUT, 1, tifs_with_a_page
    ),
    "far more than its pages": Case(
        "tiff/pages.py: ScanImageTif._check_end",
        lambda it: os.truncate(it.tif, 2 * MOST_BEHIND_BYTES),
        RECOPY,
        FIRST_OUT,
        ONE_LESS,
    ),
}

#: Damage inside a tif never ends a run by itself: its whole pages are used, or the bout is refused by a setting.
#: Where it is found, what does it, whether it is met in a stream, and the frames that are left.
SALVAGED: dict[str, tuple[str, Act, bool, tuple[int, ...]]] = {
    "zeros only": (f"{IFD}first_directory", lambda it: it.tif.write_bytes(bytes(5000)), False, (1, 3)),
    "a directory of zeros": (f"{IFD}read_page", lambda it: it.put(1, 0, bytes(8)), False, (2, 3)),
    "cut in a directory": (
        "tiff/pages.py: ScanImageTif._fetch",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[: it.directory(2) + 30]),
        False,
        (2, 3),
    ),
    "cut in pixels": (
        "tiff/pages.py: ScanImageTif._walk_from",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[:-9]),
        False,
        (2, 3),
    ),
    "a page of another size": (
        "tiff/pages.py: ScanImageTif._walk_from",
        lambda it: it.put_tag(2, 0, 8) or it.put_tag(2, 10, 2 * 8 * 41),
        False,
        (2, 3),
    ),
    "a circle": (
        "tiff/pages.py: ScanImageTif._regular_run",
        lambda it: it.put(2, 8 + 20 * N_TAGS, b"\x10" + bytes(7)),
        False,
        (2, 3),
    ),
    "a stream that ends": (
        "frames/stream.py: _Forward._fill",
        lambda it: it.tif.write_bytes(it.tif.read_bytes()[:-9]),
        True,
        (2, 3),
    ),
    "a stream whose chain leaves it": (
        "frames/stream.py: _Forward.fetch",
        lambda it: it.put(1, 8 + 20 * N_TAGS, b"\0\0\0\x10" + bytes(4)),
        True,
        (2, 3),
    ),
    "a stream with a page of another size": (
        "frames/stream.py: _Forward._next",
        lambda it: it.put_tag(2, 0, 8) or it.put_tag(2, 10, 2 * 8 * 41),
        True,
        (2, 3),
    ),
}
