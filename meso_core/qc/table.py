"""The table of checks: of each its unit, its usual limits, where to look, and how to read it.

What belongs here: one row per check. A new check is a row here and a question in the declaration of its asset.
"""

from __future__ import annotations

from collections.abc import Mapping

from .check import Check, Limit

_ROWS = (
    Check(
        "frames_are_whole",
        "imaging_metadata",
        "",
        "time",
        "Frames that are lost or not whole are left out and named; many of them mean a disk that was too "
        "slow, or tifs that were cut.",
    ),
    Check(
        "frames_match_pulses",
        "frame_times",
        "pulses",
        "time",
        "Pulses that no frame belongs to: frames were lost, or the last tif is not complete.",
        Limit(0),
    ),
    Check(
        "pulse_intervals_match_scanimage",
        "frame_times",
        "s",
        "time",
        "Largest difference between an interval on the DAQ and the same by the microscope. Half a frame or "
        "more: a pulse is missing, and later times are those of neighbours.",
    ),
    Check(
        "frame_counter_is_clean",
        "frame_times",
        "samples",
        "time",
        "Resets of the counter, and samples with several edges: check the cable of the frame clock.",
        Limit(0),
    ),
    Check(
        "daq_samples_are_regular",
        "frame_times",
        "of a step",
        "time",
        "How far steps between samples of the DAQ are from the usual one; large where timestamps were saved "
        "in low precision.",
    ),
    Check(
        "bouts_have_folders",
        "frame_times",
        "folders",
        "time",
        "Bouts that the DAQ saw and that have no folder: check that they were left out on purpose.",
    ),
    Check(
        "volumes_match_frames",
        "frame_times",
        "volumes",
        "time",
        "Volumes that were counted against those that the frame pulses make; more than one apart is a wrong "
        "number of slices.",
    ),
    Check(
        "frames_match_timestamps",
        "frame_times",
        "timestamps",
        "time",
        "As many timestamps as frames of each field of view; else nothing can be aligned.",
    ),
    Check(
        "interval_jitter",
        "frame_times",
        "of an interval",
        "time",
        "Standard deviation of the time from frame to frame over the usual one, without gaps. A microscope is"
        " regular to a hundredth; more is a bad clock or DAQ.",
        Limit(0.05),
    ),
    Check(
        "interval_gaps",
        "frame_times",
        "gaps",
        "time",
        "Intervals of more than one and a half usual ones within a bout: frames that were lost, or pulses "
        "that the DAQ missed.",
        Limit(0),
    ),
    Check(
        "frames_were_rated",
        "frame_qc",
        "",
        "time",
        "Whether the experimenter rated the frames of each bout, without contradiction.",
    ),
    Check(
        "all_fields_published",
        "motion_registered_frames",
        "fields",
        "motion",
        "Fields of view that failed alone are named with their reason; run the asset again.",
    ),
    Check(
        "bad_frame_fraction",
        "motion_registered_frames",
        "of the frames",
        "motion",
        "Frames that are left out of detection, by the experimenter or for a large shift; where that is much,"
        " look at the shifts over time.",
        Limit(0.05, 0.5),
    ),
    Check(
        "shifts_within_reach",
        "motion_registered_frames",
        "of the frames",
        "motion",
        "Frames that are shifted as far as registration looks: the brain may have moved further. Raise maxregshift.",
        Limit(0.01),
    ),
    Check(
        "registration_residual",
        "motion_registered_frames",
        "px",
        "motion",
        "Shift between the ends of the principal components of the registered movie. A pixel or more is "
        "motion that is left, or a drift in depth: play the movie.",
        Limit(1.0),
    ),
    Check(
        "rigid_range",
        "motion_registered_frames",
        "µm",
        "motion",
        "From the 1st to the 99th percentile of the rigid shifts. Far more than a cell: the edges of the "
        "field are out of sight for much of the time.",
        Limit(40.0),
    ),
    Check(
        "rigid_jump",
        "motion_registered_frames",
        "µm",
        "motion",
        "Largest step from a good frame to the next; a jump of more than a cell or two is a wrong match, or a"
        " bump of the table.",
        Limit(25.0),
    ),
    Check(
        "crispness_gain",
        "motion_registered_frames",
        "ratio",
        "motion",
        "Crispness of the mean image after rigid registration over that before it. 1 where nothing moved; "
        "below 1, registration made it worse.",
        Limit(0.97, is_low_bad=True),
    ),
    Check(
        "saturated_share",
        "motion_registered_frames",
        "of the values",
        "photons",
        "Values that pile up at the largest one: the brightest cells are cut off. Lower the laser's power or "
        "the gain of the detector.",
        Limit(1e-5),
    ),
    Check(
        "photons_per_pixel",
        "motion_registered_frames",
        "photons",
        "photons",
        "Photons per pixel and frame, median over pixels, at least. Near one there is hardly a picture in a "
        "frame: more power, or water under the objective.",
        Limit(1.5, is_low_bad=True),
    ),
    Check(
        "counts_per_photon",
        "motion_registered_frames",
        "counts",
        "photons",
        "Slope of the variance over the mean, at most; the same for all sessions of a detector at one gain.",
    ),
    Check(
        "light_lost",
        "motion_registered_frames",
        "of the light",
        "photons",
        "Light of the last third against the first: bleaching, or water that dries up. Compare the line over time.",
        Limit(0.25),
    ),
    Check(
        "ends_alike",
        "motion_registered_frames",
        "correlation",
        "photons",
        "How alike the first and the last fifth look, at the size of cells. Below 0.88 the focus has drifted, by "
        "some 10 µm: other cells are in view at the end.",
        Limit(0.88, is_low_bad=True),
    ),
    Check(
        "axial_drift",
        "motion_registered_frames",
        "µm",
        "photons",
        "From the highest to the lowest depth at which tenths of the recording lie in the reference stack. Beyond the "
        "size of a cell other cells are in view: leave out the end, or see what warms or swells under the objective.",
        Limit(10.0),
    ),
    Check(
        "cells_found",
        "rois",
        "cells",
        "cells",
        "Fewer than 10 cells, or than 100 per mm² of a field below 0.1 mm²: look at the mean image. Is it in focus, is "
        "there light, and is the size of cells right?",
    ),
    Check(
        "fields_agree",
        "rois",
        "cells",
        "cells",
        "A field of view with far fewer cells than the others of its session: look at its mean image.",
    ),
    Check(
        "all_fovs_present",
        "rois",
        "fields",
        "cells",
        "Each field of view of the metadata should have its ROIs.",
    ),
    Check(
        "shapes_agree",
        "rois",
        "datasets",
        "cells",
        "All datasets of a field of view have the same frames, ROIs and pixels; else ONE cannot load them as "
        "one object.",
    ),
    Check(
        "traces_are_finite",
        "rois",
        "values",
        "cells",
        "Values of F, neuropil and spikes that are no numbers; any spoils what is computed from them. Run rois again.",
        Limit(None, 0),
    ),
    Check(
        "classifier_share",
        "rois",
        "of the ROIs",
        "cells",
        "ROIs that are called cells. Very few: the size of cells, the classifier or the focus is wrong.",
        Limit(0.05, is_low_bad=True),
    ),
    Check(
        "cells_are_active",
        "rois",
        "of the cells",
        "cells",
        "Cells whose trace holds more than noise, for it stays alike from one frame to the next. In the dark, suite2p "
        "finds ROIs in the noise and calls some of them cells: look at the light, and at their traces.",
        Limit(0.5, is_low_bad=True),
    ),
    Check(
        "noise_level",
        "rois",
        "%/√Hz",
        "cells",
        "Median noise of the cells' dF/F (Rupprecht et al. 2021). Below 2 single spikes can be seen; above 8 "
        "only bursts.",
        Limit(8.0),
    ),
    Check(
        "neuropil_correlation",
        "rois",
        "correlation",
        "cells",
        "Median correlation of cells, after the neuropil was taken out, with that neuropil, without slow changes. Much "
        "below 0, more was taken out than was in: the neuropil holds the cells themselves.",
        Limit(-0.2, is_low_bad=True),
    ),
    Check(
        "decay_mismatch",
        "rois",
        "octaves",
        "cells",
        "How far the decay of transients is from that of the indicator for which tau was set. One octave is a"
        " factor of two: check MESO_GENOTYPE or tau.",
        Limit(1.5),
    ),
    Check(
        "atlas_is_anatomy",
        "mean_image_mlapdv",
        "",
        "place",
        "Places in the made-up phantom are no anatomy.",
    ),
    Check(
        "fov_inside_brain",
        "mean_image_mlapdv",
        "of the pixels",
        "place",
        "Pixels that miss the brain: check the window's centre and the corners of the field.",
        Limit(0.02, 0.25),
    ),
    Check(
        "fov_size",
        "mean_image_mlapdv",
        "ratio",
        "place",
        "Lengths in the brain over those on the coverslip; far from 1, check the objective's µm per degree.",
    ),
    Check(
        "fov_number_of_areas",
        "mean_image_mlapdv",
        "areas",
        "place",
        "Far too many areas are a sign of a wrong scale.",
    ),
    Check(
        "fov_near_window",
        "mean_image_mlapdv",
        "µm",
        "place",
        "Distance of the centre from the window's. A 5 mm window ends at 2500 µm.",
        Limit(2500.0, 4000.0),
    ),
    Check(
        "points_fit",
        "mean_image_mlapdv",
        "µm",
        "place",
        "Root mean square distance of named points from the fit; look at the furthest first.",
        Limit(100.0),
    ),
    Check(
        "reference_is_of_its_bout",
        "reference_images",
        "",
        "time",
        "A reference image is taken just before its bout; another one belongs to another session.",
    ),
    Check(
        "archive_verified",
        "imaging_frames_archive",
        "files",
        "lineage",
        "Archives that are not as they were when each tif was read back and compared: archive again before "
        "raw tifs are removed.",
        Limit(0),
    ),
    Check(
        "files_as_published",
        "session_qc",
        "files",
        "lineage",
        "Published files that are gone or changed since: meso audit tells which, and what to do.",
        Limit(0),
    ),
    Check(
        "alyx_holds_it",
        "alyx_datasets",
        "",
        "lineage",
        "Whether Alyx holds what is recorded here.",
    ),
    Check(
        "session_is_as_recorded",
        "lineage_audit",
        "faults",
        "lineage",
        "Files, manifests and Dagster's log of the session should agree: meso audit tells what does not.",
    ),
)

#: Name → check.
CHECKS: Mapping[str, Check] = {row.name: row for row in _ROWS}


def check_of(name: str) -> Check:
    """Return the row of a check; one without a row, as of an older version, has nothing but its name."""
    return CHECKS.get(name) or Check(name, "", "", "", "")


def checks_in(figure: str) -> tuple[str, ...]:
    """Names of the checks that a section of the report shows."""
    return tuple(name for name, row in CHECKS.items() if row.figure == figure)
