"""The catalogue of assets: what a person reads about each of them in the UI, and its code version.

What belongs here: names, groups, words. What an asset computes is in ``assets`` (which calls ``meso_core``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Shown in the UI as the people to ask; a lab puts its own team here.
OWNERS = ("team:mesoscope",)

_ALF = "[ALF names](https://int-brain-lab.github.io/ONE/alf_intro.html)"
_SUITE2P = "[suite2p](https://suite2p.readthedocs.io)"
_SCANIMAGE = "[ScanImage tiff format](https://docs.scanimage.org/Appendix/ScanImage+BigTiff+Specification.html)"
_CCF = "[Allen Common Coordinate Framework](https://atlas.brain-map.org)"


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """What the UI shows about an asset."""

    name: str
    group: str
    #: Raised by hand when the meaning of the result changes; then results of older code count as stale.
    code_version: str
    description: str
    kinds: tuple[str, ...] = ()
    #: Check name → the question it asks; verdicts of ``meso_core`` with these names are its answers.
    checks: dict[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that all of Dagster's asset decorators share."""
        return {
            "name": self.name,
            "group_name": self.group,
            "description": self.description,
            "owners": list(OWNERS),
            "kinds": set(self.kinds),
            "code_version": self.code_version,
        }


_INFOS = (
    AssetInfo(
        "raw_session",
        "raw",
        "",
        "**What the rig left**: ScanImage tifs of each imaging bout, the DAQ's recording, the experimenter's frame "
        "ratings, reference images, snapshots.\n\nOnly read, unless somebody asks for more by name "
        "(`meso remove-raw`, `MESO_ALSO_WRITE_META`). Its version is a digest of the listing (path, size, "
        "time) of the files that assets read, so a bout that arrives late makes stale what was made from the "
        "session, and a note in `snapshots/` does not.",
        ("tiff",),
    ),
    AssetInfo(
        "imaging_metadata",
        "raw",
        "1",
        "**Geometry and rates of the recording**: fields of view, their lines on the page, scale, channels, volume "
        f"rate.\n\nTaken from `_ibl_rawImagingData.meta.json` where the rig delivered it, else read from the tiff "
        f"headers ({_SCANIMAGE}); no MATLAB. Bouts must agree.",
        ("json",),
    ),
    AssetInfo(
        "imaging_frames_archive",
        "archive",
        "1",
        "**Compressed raw frames**, one archive per imaging bout (`imaging.frames.tar.bz2`), each tif read back and "
        "compared by hash. The tifs themselves stay where they are.",
        ("bzip2",),
    ),
    AssetInfo(
        "reference_images",
        "archive",
        "1",
        "**Reference images** of each imaging bout under their ALF names: the raw image, the stack, the metadata.",
        ("tiff",),
    ),
    AssetInfo(
        "frame_qc",
        "timing",
        "1",
        "**The experimenter's rating of each frame** (`exptQC.mat`, `badframes.mat`) of all bouts under one set of "
        f"labels; 0 is ok. Bad frames are left out of cropping and of ROI detection. {_ALF}.",
        ("numpy",),
        {"frames_were_rated": "Did the experimenter rate the frames of each bout, without contradiction?"},
    ),
    AssetInfo(
        "frame_times",
        "timing",
        "1",
        "**When each frame was taken**, on the DAQ's clock, per field of view: `mpci.times` (start of the field's "
        f"first line) and `mpciStack.timeshift` (per line). {_ALF}.",
        ("numpy",),
        {
            "frames_match_pulses": "Does the DAQ hold one pulse for each recorded frame?",
            "pulse_intervals_match_scanimage": "Do pulses follow each other as the microscope's own clock says?",
            "frame_counter_is_clean": "Did the DAQ's frame counter count without hiccups?",
            "bouts_have_folders": "Has each imaging bout on the DAQ its folder?",
            "volumes_match_frames": "Do volume and frame counters agree?",
        },
    ),
    AssetInfo(
        "motion_registered_frames",
        "suite2p",
        "1",
        f"**Movies with the brain's motion removed**, one per field of view ({_SUITE2P}, rigid and non-rigid). The "
        "pages are split once; then fields run side by side. A killed run resumes at the field that was not "
        "whole.",
        ("suite2p",),
        {
            "registration_residual": "Is little motion left after registration (suite2p's regDX)?",
            "bad_frame_fraction": "Are few frames left out, by the experimenter or for a large shift?",
            "shifts_within_reach": "Are nearly all frames shifted by less than registration looks for?",
        },
    ),
    AssetInfo(
        "rois",
        "suite2p",
        "1",
        f"**Cells**: masks, fluorescence, neuropil, deconvolved activity, classifier of each region of interest, per "
        f"field of view ({_SUITE2P}), as {_ALF}. UUIDs follow from the content: equal results keep their identities.",
        ("suite2p", "numpy"),
        {
            "cells_found": "Does the classifier call some ROIs of each field of view cells?",
            "all_fovs_present": "Has every field of view of the metadata its ROIs?",
            "shapes_agree": "Have all datasets of a field of view the same frames, ROIs and pixels?",
        },
    ),
    AssetInfo(
        "mean_image_mlapdv",
        "location",
        "1",
        "**Where each pixel of each field of view lies in the brain**: medio-lateral, antero-posterior, dorso-ventral "
        f"position (µm from bregma) and region id ({_CCF}). Found by following the optical axis through the coverslip; "
        "an *estimate* until landmarks or histology replace it.",
        ("numpy",),
        {
            "atlas_is_anatomy": "Was a real atlas used, not the made-up phantom?",
            "fov_inside_brain": "Do nearly all pixels meet the brain?",
            "fov_size": "Has each field of view in the brain the size that the microscope scanned?",
            "fov_number_of_areas": "Does each field of view span a sensible number of areas?",
            "fov_near_window": "Does each field of view lie under the window?",
            "points_fit": "Do the named points of the reference image fit the brain?",
        },
    ),
    AssetInfo(
        "roi_brain_locations",
        "location",
        "1",
        f"**Where each cell lies in the brain**: MLAPDV (µm from bregma) and region id ({_CCF}) of its centre.",
        ("numpy",),
    ),
    AssetInfo(
        "alyx_fov_records",
        "alyx",
        "1",
        "**Records for Alyx**: imaging stack, fields of view and their locations, as they would be sent. A dry run: "
        "nothing leaves this machine.",
        ("json",),
    ),
)

CATALOGUE = {info.name: info for info in _INFOS}
