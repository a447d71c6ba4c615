"""The catalogue: one declaration per asset.

What belongs here: what each asset reads and depends on, and what a person reads about it in the UI. To change the
meaning of a result, raise its code version here: results of older code are stale then, and run again when asked for.
"""

from __future__ import annotations

from meso_core.alyx import ended
from meso_core.archive import archive_doubts
from meso_core.session import LEFT_OUT_FOVS, RawKind

from ..io.published import read_located, read_metadata
from .curation import labels_edited
from .declare import Declaration
from .questions import OF_THE_SESSION

_ALF = "[ALF names](https://int-brain-lab.github.io/ONE/alf_intro.html)"
_SUITE2P = "[suite2p](https://suite2p.readthedocs.io)"
_SCANIMAGE = "[ScanImage tiff format](https://docs.scanimage.org/Appendix/ScanImage+BigTiff+Specification.html)"
_CCF = "[Allen Common Coordinate Framework](https://atlas.brain-map.org)"

_BOUT, _FOV, _REPORTS = r"raw_imaging_data(_\d\d)?", r"alf/FOV_\d\d", r"reports/(qc|figures)/[^/]+"

#: What decides where a pixel lies, besides the session.
_ATLAS = ("atlas", "atlas_resolution_um", "atlas_path", "mesh_path", "normal_rule", "frame")

#: What decides what Alyx is told, besides the session.
_ALYX = ("alyx", "alyx_url")
_HELD = {"alyx_holds_it": "Does Alyx hold what is recorded here?"}

#: Results with which a session is judged.
_JUDGED = (
    "imaging_metadata",
    "imaging_frames_archive",
    "reference_images",
    "frame_qc",
    "frame_times",
    "motion_registered_frames",
    "rois",
    "mean_image_mlapdv",
    "roi_brain_locations",
)

#: Kind of raw files → what a person reads about it in the UI.
RAW = {
    RawKind.FRAMES: "Tifs of each imaging bout, or the archive of a bout that came as such. Archiving, removing "
    "and restoring tifs does not change their version.",
    RawKind.METADATA: "Imaging metadata of the rig (`_ibl_rawImagingData.meta.json`) and the microscope's frame times.",
    RawKind.FRAME_RATINGS: "The experimenter's ratings of frames: `exptQC.mat`, `badframes.mat` of each bout.",
    RawKind.DAQ: "Recording of the DAQ (`raw_sync_data`, or another folder with Timeline's files).",
    RawKind.REFERENCE: "Reference image of each bout, with the points that somebody marked in it.",
    RawKind.SNAPSHOTS: "Snapshots and notes of the experimenter.",
}

_DECLARATIONS = (
    Declaration(
        name="imaging_metadata",
        group="raw",
        code_version="2",
        description=(
            "Geometry and rates of the recording: fields of view, their lines on the page, scale, channels, volume "
            f"rate.\n\nTaken from `_ibl_rawImagingData.meta.json` where the rig delivered it, else read from the tiff "
            f"headers ({_SCANIMAGE}); no MATLAB. Bouts must agree.\n\nAlso which frames are "
            "on file, each placed by the number that its pages carry."
        ),
        io_manager="session_files",
        places=rf"alf/_meso_[^/]+|{_BOUT}/(_ibl_rawImagingData\.meta\.json|rawImagingData\.times_scanImage\.npy)|{_REPORTS}",
        raw=(RawKind.FRAMES, RawKind.METADATA),
        headers_of=(RawKind.FRAMES,),
        settings=("window_center_ml", "window_center_ap", "channels", "damaged_frames"),
        read=read_metadata,
        is_quick=True,
        kinds=("json",),
        checks={"frames_are_whole": "Are all frames of each bout on file, each whole and in its place?"},
    ),
    Declaration(
        name="imaging_frames_archive",
        group="archive",
        code_version="1",
        description=(
            "Compressed raw frames, one archive per imaging bout (`imaging.frames.tar.bz2`), each tif read back "
            "and compared by hash. The tifs themselves stay where they are."
        ),
        io_manager="session_files",
        places=rf"{_BOUT}/imaging\.frames\.(tar\.bz2|zarr/.+)",
        raw=(RawKind.FRAMES, RawKind.METADATA),
        settings=("archive_format",),
        doubts=archive_doubts,
        keeps_versions=False,
        takes_no_links=True,
        kinds=("bzip2",),
    ),
    Declaration(
        name="reference_images",
        group="archive",
        code_version="3",
        description=(
            "Reference images of each imaging bout under their ALF names: the raw image, the stack, the metadata."
        ),
        io_manager="session_files",
        places=rf"{_BOUT}/reference/referenceImage\.[^/]+|reports/reference_images\.json|{_REPORTS}",
        raw=(RawKind.REFERENCE,),
        about=RawKind.REFERENCE,
        upstream=("imaging_metadata",),
        kinds=("tiff",),
        checks={"reference_is_of_its_bout": "Was each reference image taken just before its bout?"},
    ),
    Declaration(
        name="frame_qc",
        group="timing",
        code_version="2",
        description=(
            "The experimenter's rating of each frame (`exptQC.mat`, `badframes.mat`) of all bouts under one set of "
            f"labels; 0 is ok. Bad frames are left out of cropping and of ROI detection. {_ALF}."
        ),
        io_manager="alf",
        places=rf"{_FOV}/mpci(FrameQC)?\.[^/]+|{_REPORTS}",
        datasets=("mpci.mpciFrameQC", "mpciFrameQC.names", "mpci.excludedFrames"),
        raw=(RawKind.FRAME_RATINGS,),
        upstream=("imaging_metadata",),
        settings=(LEFT_OUT_FOVS,),
        is_quick=True,
        kinds=("numpy",),
        checks={"frames_were_rated": "Did the experimenter rate the frames of each bout, without contradiction?"},
    ),
    Declaration(
        name="frame_times",
        group="timing",
        code_version="2",
        description=(
            "When each frame was taken, on the DAQ's clock, per field of view: `mpci.times` (start of the field's "
            f"first line) and `mpciStack.timeshift` (per line). {_ALF}."
        ),
        io_manager="alf",
        places=rf"{_FOV}/mpci(Stack)?\.[^/]+|{_REPORTS}",
        datasets=("mpci.times", "mpciStack.timeshift"),
        raw=(RawKind.DAQ,),
        settings=("frame_channel", LEFT_OUT_FOVS),
        upstream=("imaging_metadata",),
        is_quick=True,
        kinds=("numpy",),
        checks={
            "frames_match_pulses": "Does the DAQ hold one pulse for each recorded frame?",
            "pulse_intervals_match_scanimage": "Do pulses follow each other as the microscope's own clock says?",
            "frame_counter_is_clean": "Did the DAQ's frame counter count without hiccups?",
            "bouts_have_folders": "Has each imaging bout on the DAQ its folder?",
            "daq_samples_are_regular": "Do the DAQ's samples follow each other at equal intervals?",
            "volumes_match_frames": "Do volume and frame counters agree?",
        },
    ),
    Declaration(
        name="motion_registered_frames",
        group="suite2p",
        code_version="2",
        description=(
            f"Movies with the brain's motion removed, one per field of view ({_SUITE2P}, rigid and non-rigid). The "
            "pages are split once; then fields run side by side. A killed run resumes at the field that was not "
            "whole."
        ),
        io_manager="session_files",
        places=rf"suite2p/plane\d+/[^/]+|{_REPORTS}",
        raw=(RawKind.FRAMES,),
        upstream=("imaging_metadata", "frame_qc"),
        settings=(LEFT_OUT_FOVS,),
        stage="registration",
        packages=("suite2p", "torch", "numba"),
        kinds=("suite2p",),
        checks={
            "all_fields_published": "Was each field of view registered, so that none is missing?",
            "registration_residual": "Is little motion left after registration (suite2p's regDX)?",
            "bad_frame_fraction": "Are few frames left out, by the experimenter or for a large shift?",
            "shifts_within_reach": "Are nearly all frames shifted by less than registration looks for?",
        },
    ),
    Declaration(
        name="rois",
        group="suite2p",
        code_version="3",
        description=(
            f"Cells: masks, fluorescence, neuropil, deconvolved activity, classifier of each region of interest, "
            f"per field of view ({_SUITE2P}), as {_ALF}. UUIDs follow from the content: equal results keep their "
            "identities."
        ),
        io_manager="alf",
        places=rf"{_FOV}/[^/]+|suite2p/plane\d+/[^/]+|{_REPORTS}",
        datasets=(
            "mpci.ROIActivityF",
            "mpci.ROINeuropilActivityF",
            "mpci.ROIActivityDeconvolved",
            "mpci.badFrames",
            "mpciMeanImage.images",
            "mpciROIs.stackPos",
            "mpciROIs.mpciROITypes",
            "mpciROITypes.names",
            "mpciROIs.cellClassifier",
            "mpciROIs.uuids",
            "mpciROIs.masks",
            "mpciROIs.neuropilMasks",
        ),
        upstream=("imaging_metadata", "motion_registered_frames"),
        settings=("genotype", LEFT_OUT_FOVS),
        edited=labels_edited,
        stage="detection",
        packages=("suite2p", "torch", "scipy", "scikit-learn"),
        kinds=("suite2p", "numpy"),
        checks={
            "all_fields_published": "Has each field of view its ROIs, so that none is missing?",
            "cells_found": "Does the classifier call some ROIs of each field of view cells?",
            "fields_agree": "Has each field of view about as many cells as the others, for its area?",
            "all_fovs_present": "Has every field of view of the metadata its ROIs?",
            "shapes_agree": "Have all datasets of a field of view the same frames, ROIs and pixels?",
        },
    ),
    Declaration(
        name="mean_image_mlapdv",
        group="location",
        code_version="1",
        description=(
            "Where each pixel of each field of view lies in the brain: medio-lateral, antero-posterior, "
            f"dorso-ventral position (µm from bregma) and region id ({_CCF}). Found by following the optical axis "
            "through the coverslip; an *estimate* until landmarks or histology replace it."
        ),
        io_manager="alf",
        places=rf"{_FOV}/mpciMeanImage\.[^/]+|alf/fovs\.locations\.json|{_REPORTS}",
        datasets=("mpciMeanImage.mlapdv", "mpciMeanImage.brainLocationIds_ccf_2017"),
        raw=(RawKind.REFERENCE,),
        upstream=("imaging_metadata",),
        settings=(*_ATLAS, LEFT_OUT_FOVS),
        packages=("iblatlas", "scipy"),
        read=read_located,
        is_quick=True,
        kinds=("numpy",),
        checks={
            "atlas_is_anatomy": "Was a real atlas used, not the made-up phantom?",
            "fov_inside_brain": "Do nearly all pixels meet the brain?",
            "fov_size": "Has each field of view in the brain the size that the microscope scanned?",
            "fov_number_of_areas": "Does each field of view span a sensible number of areas?",
            "fov_near_window": "Does each field of view lie under the window?",
            "points_fit": "Do the named points of the reference image fit the brain?",
        },
    ),
    Declaration(
        name="roi_brain_locations",
        group="location",
        code_version="1",
        description=(
            f"Where each cell lies in the brain: MLAPDV (µm from bregma) and region id ({_CCF}) of its centre."
        ),
        io_manager="alf",
        places=rf"{_FOV}/mpciROIs\.[^/]+|{_REPORTS}",
        datasets=("mpciROIs.mlapdv", "mpciROIs.brainLocationIds_ccf_2017"),
        upstream=("rois", "mean_image_mlapdv"),
        settings=_ATLAS,
        kinds=("numpy",),
    ),
    Declaration(
        name="alyx_fov_records",
        group="alyx",
        code_version="2",
        description=(
            "Fields of view in Alyx: imaging stacks, fields of view and their locations, and the surface normal of "
            "the craniotomy.\n\nWith `MESO_ALYX=off` the records as they would be sent; with `dry-run` what would "
            "change on the server; with `online` it is sent, once, and the ids are kept. Nothing that was located with "
            "the phantom is ever sent."
        ),
        io_manager="session_files",
        places=rf"alyx/fov_records\.[^/]+|{_REPORTS}",
        upstream=("imaging_metadata", "mean_image_mlapdv"),
        settings=_ALYX,
        ended_as=ended,
        is_quick=True,
        kinds=("json",),
        checks=_HELD,
    ),
    Declaration(
        name="alyx_snapshots",
        group="alyx",
        code_version="1",
        description=(
            "Snapshots in Alyx: the pictures of `snapshots/` of the session and its bouts as notes of the session, "
            "with the captions that lie beside them (`.txt`). Each picture once, recognised by its content."
        ),
        io_manager="session_files",
        places=rf"alyx/snapshots\.[^/]+|{_REPORTS}",
        raw=(RawKind.SNAPSHOTS,),
        about=RawKind.SNAPSHOTS,
        settings=_ALYX,
        ended_as=ended,
        is_quick=True,
        kinds=("json",),
        checks=_HELD,
    ),
    Declaration(
        name="session_qc",
        group="report",
        code_version="3",
        description=(
            "Is the session good? Verdicts on what all results together tell: clock, motion, light, drift in "
            "depth, noise, neuropil, decay, records. Each has a value, a unit, a limit (`MESO_QC_LIMITS`) and how to "
            "read it; `meso qc SESSION` shows them with those that each result published itself."
        ),
        io_manager="session_files",
        places=_REPORTS,
        upstream=_JUDGED,
        settings=("qc_limits",),
        packages=("scipy",),
        reads_records=True,
        kinds=("json",),
        checks=OF_THE_SESSION,
    ),
    Declaration(
        name="alyx_datasets",
        group="alyx",
        code_version="1",
        description=(
            "Files in Alyx: each published file that is an ALF dataset, with its md5, size, version and quality, "
            "in one batch per folder. Datasets that Alyx protects get a revision. What was made with the phantom, or "
            "failed quality control, stays out. A file is registered when the server says so, not before."
        ),
        io_manager="session_files",
        places=rf"alyx/datasets\.[^/]+|.+/#[^/]+#/[^/]+|{_REPORTS}",
        raw=(RawKind.REFERENCE,),
        upstream=(*_JUDGED, "session_qc"),
        settings=(*_ALYX, "alyx_repository"),
        ended_as=ended,
        reads_records=True,
        kinds=("json",),
        checks=_HELD,
    ),
    Declaration(
        name="alyx_session_qc",
        group="alyx",
        code_version="2",
        description=(
            "Whether a session is good, in Alyx: its quality (`qc`), an entry of `extended_qc` for each check, a note "
            "with a picture and the verdicts in words. What people say counts first. Entries and notes of others stay, "
            "and a quality that somebody else has set stays unless this one is worse. It goes also where a session is "
            "bad, so that nobody uses it; what was found with the phantom never goes."
        ),
        io_manager="session_files",
        places=rf"alyx/session_qc\.[^/]+|{_REPORTS}",
        upstream=(*_JUDGED, "session_qc"),
        settings=(*_ALYX, "qc_limits"),
        ended_as=ended,
        reads_records=True,
        reads_people=True,
        kinds=("json",),
        checks=_HELD,
    ),
    Declaration(
        name="session_report",
        group="report",
        code_version="10",
        description=(
            "What to look at before trusting a session: one page with its fields of view, cells, traces, motion, "
            "photons, times, verdicts, settings (`reports/session_report.html`). It needs no network and prints to "
            "A4. Beside it lies a movie of each field, raw and registered. What was not made is named on it. Also: "
            "`meso report SESSION`."
        ),
        io_manager="session_files",
        places=r"reports/session_report\.(html|json)|reports/session_movies/FOV_\d\d\.webm",
        raw=(RawKind.FRAMES,),
        headers_of=(RawKind.FRAMES,),
        upstream=(*_JUDGED, "session_qc"),
        settings=(*_ATLAS, "qc_limits"),
        packages=("matplotlib", "contourpy", "scipy", "pillow", "jinja2", "av", "rastermap"),
        reads_records=True,
        reads_people=True,
        kinds=("html",),
    ),
)

#: Assets with files in the session: what is not current is due.
CATALOGUE = {declaration.name: declaration for declaration in _DECLARATIONS}
#: Assets that read raw tifs: none is made while tifs are taken away or brought back.
MADE_OF_TIFS = tuple(name for name, declared in CATALOGUE.items() if RawKind.FRAMES in declared.raw)

#: Assets that tell how a session is: asked for, never due.
RECORDS = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            name="lineage_audit",
            group="report",
            code_version="1",
            description=(
                "Is all as it was recorded? Files on disk, manifests and Dagster's log are compared: what is "
                "missing, changed, left over, stale (and why), not registered, edited. The same as `meso audit`; the "
                "last verdict and its history are in `.meso/audit` of the session."
            ),
            io_manager="session_files",
            upstream=tuple(CATALOGUE),
            checks={"session_is_as_recorded": "Are files, manifests and Dagster's log of the session in agreement?"},
            kinds=("json",),
        ),
    )
}
