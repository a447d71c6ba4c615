"""A session of ours, ready to be registered, and what a server holds of it when it was."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from meso_core.alyx import (
    OwnFile,
    OwnFiles,
    Plan,
    SurgeryUpdate,
    plan_craniotomy,
    plan_datasets,
    plan_fovs,
    plan_snapshots,
    register,
    register_fov,
    register_snapshots,
)
from meso_core.location import AtlasInfo, FovLocation, Frame, NormalRule, Provenance, SessionLocations, WindowPlane
from meso_core.session import SessionKey
from tests.alyx.standin import Given
from tests.whole_metadata import whole_metadata

CORNERS = np.array([[-1000.0, -2000, -300], [-500, -2000, -300], [-1000, -2500, -300], [-500, -2500, -300]])
NAMES = ("mpci.times.npy", "mpci.ROIActivityF.npy", "mpciROIs.uuids.csv", "mpciMeanImage.mlapdv_estimate.npy")
CENTER, NORMAL = (1.2, -3.4), (0.6, 0.0, 0.8)
TODAY = "2024-06-01"
DATASET_FIELDS = ("collection", "name", "revision", "hash", "file_size", "version", "default_dataset")


@dataclass(frozen=True)
class Ours:
    """A session of ``n_fovs`` fields of view, each ROI at two depths, with pictures and published files."""

    key: SessionKey
    folder: Path
    #: Its id at the server; None where the server does not have it.
    eid: str | None
    repository: str
    n_fovs: int = 4
    #: Whether the server has a craniotomy of the subject, which has no REST create.
    has_surgery: bool = True
    provenance: Provenance = Provenance.ESTIMATE
    shift_um: float = 0.0
    #: What stands in the published files: other content has another hash.
    content: str = "first"

    @classmethod
    def entered(cls, site: Given, root: Path, *, n_fovs: int = 4, n: int = 0) -> Ours:
        """Enter the n-th subject and a session of it at a server, and put its pictures on disk."""
        subject, date = f"SP{site.tag}_{n}", "2024-03-01"
        if not site.rows(f"subjects?nickname={subject}"):
            site.subject(subject)
            if site.stand_in is not None:
                site.surgery(subject, "2024-01-02T10:00:00", {"craniotomy_00": {"center": list(CENTER)}})
        key = SessionKey(subject, date, "001")
        ours = cls(
            key, key.folder(root), site.session(subject, date), site.repository, n_fovs, site.stand_in is not None
        )
        for place in ("snapshots", "raw_imaging_data_00/snapshots"):
            (ours.folder / place).mkdir(parents=True, exist_ok=True)
        for n, name in enumerate(("a.png", "b.jpg", "c.tif")):
            path = ours.folder / ("snapshots" if n else "raw_imaging_data_00/snapshots") / name
            path.write_bytes(_picture(path.suffix, n, f"{subject}{date}"))
        (ours.folder / "snapshots" / "b.txt").write_text("window, µm scale", encoding="utf-8")
        return ours

    def other(self, **more: Any) -> Ours:
        return replace(self, **more)

    # what is registered

    @property
    def roi_names(self) -> list[str]:
        return [f"roi-{self.key.subject}-{i // 2}" for i in range(self.n_fovs)]

    @property
    def metadata(self) -> dict[str, Any]:
        corners = ("topLeft", "topRight", "bottomLeft", "bottomRight")
        mm = {name: [x / 1e3, y / 1e3] for name, (x, y, _) in zip(corners, CORNERS, strict=True)}
        fovs = [{"roiUUID": roi, "nXnYnZ": [512, 256 + i, 1], "MM": mm} for i, roi in enumerate(self.roi_names)]
        return whole_metadata(fovs)

    @property
    def locations(self) -> SessionLocations:
        located = tuple(
            FovLocation(
                i, (256 + i, 512), self.corners(i), (385,) * 4, self.corners(i).mean(axis=0), 385, (0, 385, -385),
                fraction_outside=0.0, size_mm=(0.5, 0.5), roi_uuid=roi, z=100.0 + i,
            )
            for i, roi in enumerate(self.roi_names)
        )  # fmt: skip
        atlas = AtlasInfo("allen", 25.0, "0" * 64, "file", False)
        window = WindowPlane(CORNERS.mean(axis=0), np.array([0.0, 0.0, 1.0]), NormalRule.REGION)
        return SessionLocations(self.provenance, atlas, Frame.CCF, window, located)

    def corners(self, fov: int) -> Any:
        return CORNERS + fov + self.shift_um

    @property
    def files(self) -> OwnFiles:
        made = []
        for i in range(self.n_fovs):
            for name in NAMES:
                path = f"alf/FOV_{i:02d}/{name}"
                text = f"{self.content} {path}".encode()
                made.append(OwnFile(path, len(text), hashlib.md5(text).hexdigest(), "fov_datasets", "1.2.3"))
        return OwnFiles(str(self.key), tuple(made), {})

    def parts(self, client: Any) -> dict[str, Callable[[], Plan]]:
        """Name of each part → makes its plan from what the server holds now."""
        update = SurgeryUpdate(self.key.subject, CENTER, NORMAL)
        own = {"session": self.key}
        fovs = register_fov(self.metadata, self.locations, **own)
        snapshots = register_snapshots(self.folder, **own)
        craniotomy = {"craniotomy": lambda: plan_craniotomy(update, client)} if self.has_surgery else {}
        return {
            "fovs": lambda: plan_fovs(fovs, client),
            **craniotomy,
            "datasets": lambda: plan_datasets(self.files, client, repository=self.repository, today=TODAY),
            "snapshots": lambda: plan_snapshots(snapshots, self.folder, client),
        }

    def register(self, client: Any, *only: str, wait: Callable[[float], None] = lambda _: None) -> dict[str, Any]:
        """Register all parts, or only some, as the platform does; part → what the server answered."""
        made = {name: make for name, make in self.parts(client).items() if not only or name in only}
        return {name: register(make, client, self.folder, wait=wait)[1] for name, make in made.items()}

    def plans(self, client: Any) -> dict[str, Plan]:
        return {name: make() for name, make in self.parts(client).items()}


def held(site: Given, ours: Ours) -> dict[str, Any]:
    """All that a server holds of a session, without the ids that it gave; nothing of one that it does not have."""
    if ours.eid is None:
        return {name: [] for name in ("stacks", "fovs", "locations", "datasets", "notes")}
    fovs = site.rows(f"fields-of-view?session={ours.eid}")
    details = {row["id"]: site.call("GET", f"/fields-of-view/{row['id']}") for row in fovs}
    stacks = site.rows("imaging-stack")
    stack_names = {row["id"]: site.call("GET", f"/imaging-stack/{row['id']}")["name"] for row in stacks}
    mine = sorted(name for name in stack_names.values() if name in set(ours.roi_names))
    return {
        "stacks": mine,
        "fovs": sorted((f["name"], stack_names.get(f["stack"])) for f in details.values()),
        "locations": sorted(
            (f["name"], at["provenance"], at["default_provenance"], *map(tuple, (at["x"], at["y"], at["z"])),
             tuple(at["n_xyz"]), tuple(sorted(at["brain_region"])))
            for f in details.values()
            for at in f["location"]
        ),
        "datasets": sorted(
            (*(d[name] for name in DATASET_FIELDS),
             tuple((f["relative_path"], f["exists"]) for f in d["file_records"]))
            for d in site.rows(f"datasets?session={ours.eid}")
        ),
        "notes": sorted((n["text"], _content(n)) for n in site.rows(f"notes?django=object_id,{ours.eid}")),
        "subject": site.call("GET", f"/subjects/{ours.key.subject}")["json"],
    }  # fmt: skip


def expected(ours: Ours) -> dict[str, Any]:
    """What a server holds of a session once it is registered: worked out here, from the session alone."""
    entry = {"center": list(CENTER), "surface_normal_unit_vector": list(NORMAL)}
    corners = {i: ours.corners(i).T.tolist() for i in range(ours.n_fovs)}
    pictures = sorted(path for path in ours.folder.rglob("snapshots/*") if path.suffix != ".txt")
    prefix = f"{ours.key.subject}/{ours.key.date}/{ours.key.number}"
    return {
        "stacks": sorted(set(ours.roi_names)),
        "fovs": [(f"FOV_{i:02d}", roi) for i, roi in enumerate(ours.roi_names)],
        "locations": [
            (f"FOV_{i:02d}", ours.provenance.alyx_code, True, *map(tuple, corners[i]), (512, 256 + i, 1), (0, 385))
            for i in range(ours.n_fovs)
        ],
        "datasets": sorted(
            (f.collection, f.name, "", f.md5, f.size, "1.2.3", True, ((f"{prefix}/{f.path}", True),))
            for f in ours.files.files
        ),
        "notes": sorted(
            ("window, µm scale" if path.name == "b.jpg" else "", hashlib.sha256(path.read_bytes()).hexdigest())
            for path in pictures
        ),
        "subject": {"craniotomy_00": entry} if ours.has_surgery else None,
    }


def _content(note: dict[str, Any]) -> str:
    """Digest of the picture that a note says it shows."""
    return str(note["json"]["sha256"])


def _picture(suffix: str, shade: int, of: str) -> bytes:
    """A picture that no other session has."""
    pixels = np.full((8, 8), shade, dtype=np.uint8)
    pixels[0] = np.frombuffer(hashlib.md5(of.encode()).digest()[:8], dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF"}[suffix])
    return buffer.getvalue()
