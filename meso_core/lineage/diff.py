"""Two versions of a session's results: settings, code, inputs, numbers, and the ROIs matched.

What belongs here: comparing manifests, and masks. Which versions are compared is chosen in ``versions_of``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..counting import counted
from ..errors import MissingInputError
from ..storage import Manifest, PresentFiles, Session
from .audit import changed_facts
from .chain import read_histories
from .compare import FileComparison, compare_files, read_masks

if TYPE_CHECKING:
    import sparse

#: ROIs whose masks overlap by this share of their union are taken for one.
_MATCH_IOU = 0.5
_MASKS = "mpciROIs.masks.sparse_npz"


@dataclass(frozen=True, slots=True)
class RoiMatch:
    """ROIs of one FOV in two versions."""

    fov: str
    n_before: int
    n_after: int
    #: Pairs with an intersection over union of at least 0.5, each ROI in one at most.
    n_matched: int
    #: Of the matched; 0 where there are none.
    median_iou: float

    def __str__(self) -> str:
        told = f"{self.fov}: {self.n_before} → {self.n_after} ROIs, {self.n_matched} matched"
        return f"{told} (median IoU {self.median_iou:.3f})" if self.n_matched else told


@dataclass(frozen=True, slots=True)
class AssetDifference:
    """What differs between two versions of an asset."""

    asset: str
    #: Run that made each version; empty where there was none.
    runs: tuple[str, str]
    #: A sentence each: code, inputs, settings, packages, options of the run, numbers.
    differences: tuple[str, ...]
    #: Files whose content differs, and by how much where both versions are there.
    files: tuple[FileComparison, ...]
    rois: tuple[RoiMatch, ...]
    #: What could not be compared, and why.
    notes: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs but the run."""
        return not (self.differences or self.files)

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Versions:
    """What a session held at one time, of all assets, and which of its files are there now."""

    session: Session
    #: Asset → its manifest then.
    manifests: Mapping[str, Manifest]
    present: PresentFiles


def versions_of(session: Session, run: str, present: PresentFiles) -> Versions:
    """Find the versions of all assets as they were when a run had ended.

    Parameters
    ----------
    run
        Id of the run, or its start; ``now`` for the present ones.
    present
        The session's files, from one listing for all comparisons.

    Raises
    ------
    MissingInputError
        If no manifest of the session is of such a run, or those of several are.
    """
    made = session.manifests()
    if run == "now":
        return Versions(session, made, present)
    records = {name: history.records for name, history in read_histories(session, made).items()}
    mine = [one for versions in records.values() for one in versions if one.made_by.run_id.startswith(run)]
    if len(found := sorted({one.made_by.run_id for one in mine})) != 1:
        others = sorted({one.made_by.run_id for versions in records.values() for one in versions})
        raise MissingInputError.at(
            f"{session.key}, run {run}",
            expected=f"one of {', '.join(others) or 'its runs (it has none)'}, or `now`",
            found=", ".join(found) or "no result of such a run",
            remedy="Name a run by the start of its id; `meso lineage` and the interface show them",
        )
    end = max(one.published_at for one in mine)
    state = {}
    for name, versions in records.items():
        until = [one for one in versions if one.made_by.run_id == found[0]] or [
            one for one in versions if one.published_at <= end
        ]
        if until:
            state[name] = until[0]
    return Versions(session, state, present)


def diff_asset(asset: str, before: Versions, after: Versions) -> AssetDifference:
    """Compare two versions of an asset, of one session or of two."""
    old, new = before.manifests.get(asset), after.manifests.get(asset)
    if old is None or new is None:
        runs = (old.made_by.run_id if old else "", new.made_by.run_id if new else "")
        return AssetDifference(asset, runs, ("was not made before" if new else "was not made then",), (), ())
    runs = (old.made_by.run_id, new.made_by.run_id)
    hashes = {file.path: file.sha256 for file in old.files}, {file.path: file.sha256 for file in new.files}
    changed = [path for path in sorted({*hashes[0], *hashes[1]}) if hashes[0].get(path) != hashes[1].get(path)]
    lost = [
        path for path in changed if not _is_kept(before.present, old, path) or not _is_kept(after.present, new, path)
    ]
    both = [path for path in changed if path not in lost]
    only = "by how much their content differs is not told: that of the older version is not at its place"
    notes = (f"{counted(len(lost), 'file')}: {only}",) if lost else ()
    masks = [path for path in hashes[1] if path.rpartition("/")[2] == _MASKS and path in hashes[0] and path not in lost]
    folders = tuple(
        one.session.fetch(path for path in dict.fromkeys((*both, *masks)) if path in one.present.files)
        for one in (before, after)
    )
    files = tuple(compare_files(path, folders[0] / path, folders[1] / path) for path in both)
    files += tuple(FileComparison(path, False, "other content") for path in lost)
    rois = tuple(_matched(path, folders[0], folders[1]) for path in masks)
    return AssetDifference(asset, runs, _differences(old, new), files, rois, notes)


def _differences(old: Manifest, new: Manifest) -> tuple[str, ...]:
    made = old.made_by, new.made_by
    found = list(old.basis.differences(new.basis))
    if made[0].options != made[1].options:
        found.append(f"options of the run: {dict(made[0].options)} → {dict(made[1].options)}")
    if made[0].code != made[1].code:
        found.append(f"code: {made[0].code} → {made[1].code}")
    if made[0].host != made[1].host:
        found.append(f"host: {made[0].host or '(not recorded)'} → {made[1].host or '(not recorded)'}")
    told = {name for name in new.basis.packages}
    found += [
        text for text in changed_facts(made[0].packages, made[1].packages) if text.split(" ")[0] not in {*told, "meso"}
    ]
    return (*found, *changed_facts(old.facts, new.facts))


def _is_kept(present: PresentFiles, manifest: Manifest, path: str) -> bool:
    """Whether a file is there as that version published it."""
    record = next((file for file in manifest.files if file.path == path), None)
    return record is None or present.is_unchanged(record)


def _matched(path: str, before: Path, after: Path) -> RoiMatch:
    return match_rois(path.split("/")[-2], read_masks(before / path), read_masks(after / path))


def match_rois(fov: str, before: sparse.SparseArray, after: sparse.SparseArray) -> RoiMatch:
    """Match the ROIs of two versions by the overlap of their masks.

    Parameters
    ----------
    fov
        Name of the FOV.
    before, after
        Masks, (n_rois, nY, nX); a pixel belongs to an ROI where it is not 0.
    """
    if before.shape[1:] != after.shape[1:]:
        return RoiMatch(fov, before.shape[0], after.shape[0], 0, 0.0)
    overlap = roi_overlap(before, after)
    pairs = [(overlap[i, j], int(i), int(j)) for i, j in np.argwhere(overlap >= _MATCH_IOU)]
    taken: tuple[set[int], set[int]] = (set(), set())
    ious = []
    for iou, i, j in sorted(pairs, reverse=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            ious.append(float(iou))
    median = float(np.median(ious)) if ious else 0.0
    return RoiMatch(fov, before.shape[0], after.shape[0], len(ious), median)


def roi_overlap(before: sparse.SparseArray, after: sparse.SparseArray) -> np.ndarray:
    """Intersection over union of all pairs of masks, (n_before, n_after)."""
    import scipy.sparse

    def flat(masks: sparse.SparseArray) -> scipy.sparse.csr_matrix:
        coo = masks.asformat("coo")
        pixels = coo.coords[1] * masks.shape[2] + coo.coords[2]
        shape = (masks.shape[0], masks.shape[1] * masks.shape[2])
        return scipy.sparse.csr_matrix((np.ones(pixels.size, np.int64), (coo.coords[0], pixels)), shape=shape)

    one, other = flat(before), flat(after)
    shared = np.asarray((one @ other.T).todense(), dtype=float)
    sizes = np.asarray(one.sum(axis=1)).ravel()[:, None] + np.asarray(other.sum(axis=1)).ravel()[None, :]
    union = sizes - shared
    iou: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou
