"""What a fresh server holds, from its fixtures and migrations: the names that meso and the probe know."""

from __future__ import annotations

import csv
from pathlib import Path

from .tables import Tables

PROCEDURES = ("Imaging", "Craniotomy", "Histology", "Headplate implant", "Ephys recording with acute probe(s)")
REPOSITORY_TYPES = ("Fileserver",)
COORDINATE_SYSTEMS = ("Needles-Allen", "IBL-Allen")
IMAGING_TYPES = ("mesoscope",)

#: Types that match ``object.attribute``; a real server has 113.
DATASET_TYPES = (
    *(f"mpci.{name}" for name in ("ROIActivityF", "ROINeuropilActivityF", "ROIActivityDeconvolved", "times")),
    *(f"mpci.{name}" for name in ("badFrames", "mpciFrameQC")),
    *(f"mpciROIs.{name}" for name in ("stackPos", "mpciROITypes", "cellClassifier", "uuids", "masks", "neuropilMasks")),
    *(f"mpciROIs.{name}" for name in ("mlapdv", "brainLocationIds")),
    *(f"mpciMeanImage.{name}" for name in ("images", "mlapdv", "brainLocationIds")),
    *(f"rawImagingData.{name}" for name in ("times", "meta")),
    *(f"referenceImage.{name}" for name in ("raw", "stack", "meta", "points")),
    *("mpciFrameQC.names", "mpciROITypes.names", "mpciStack.timeshift", "ROIData.raw", "imaging.frames"),
)

FORMATS = {
    "npy": ".npy", "csv": ".csv", "tsv": ".tsv", "htsv": ".htsv", "json": ".json", "jsonable": ".jsonable",
    "tif": ".tif", "tar": ".tar", "bz2": ".bz2", "bin": ".bin", "zip": ".zip", "npz": ".npz",
    "sparse_npz": ".sparse_npz", "mat": ".mat", "mp4": ".mp4", "avi": ".avi", "cbin": ".cbin", "ch": ".ch",
    "txt": ".txt", "pqt": ".pqt", "png": ".png", "yaml": ".yaml", "zarr": ".zarr", "h5": ".h5", "nrrd": ".nrrd",
    "log": ".log", "raw": ".raw", "ssv": ".ssv",
}  # fmt: skip


def fill(tables: Tables) -> None:
    """Load the fixtures, as the loader of a real server does."""
    for table, names in (
        ("procedures", PROCEDURES),
        ("repository-types", REPOSITORY_TYPES),
        ("coordinate-systems", COORDINATE_SYSTEMS),
        ("imaging-types", IMAGING_TYPES),
    ):
        for name in names:
            tables[table].add(name=name)
    for name in DATASET_TYPES:
        tables["dataset-types"].add(name=name, description="", created_by=None, filename_pattern="")
    for name, extension in FORMATS.items():
        empty = {"description": "", "matlab_loader_function": "", "python_loader_function": ""}
        tables["data-formats"].add(name=name, file_extension=extension, **empty)
    empty_lab = {"institution": "", "address": "", "timezone": "Europe/London", "repositories": (), "json": None}
    tables["labs"].add(name="cortexlab", **empty_lab)
    _regions(tables)


def _regions(tables: Tables) -> None:
    """The Allen regions and void, all without a sign, from the table that iblatlas brings along."""
    import iblatlas

    with (Path(iblatlas.__file__).parent / "allen_structure_tree.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            parent = row["parent_structure_id"].partition(".")[0] or ("0" if row["id"] == "997" else None)
            names = {"acronym": row["acronym"], "name": row["name"], "description": ""}
            tables["brain-regions"].add(id=row["id"], parent=parent, **names)
