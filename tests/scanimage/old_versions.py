"""A real session's metadata as older versions of the rig's code would have written them."""

import copy

import numpy as np

CORNERS = ("topLeft", "topRight", "bottomLeft", "bottomRight")


def unversioned(real):
    """May 2023 and before: corners named by unit, channels in each FOV, the wrong transform."""
    meta = rotated(real)
    for name in ("version", "channelSaved"):
        del meta[name]
    for fov in meta["FOV"]:
        for name in ("slice_id", "roiUUID", "Zs"):
            del fov[name]
        for unit in ("Deg", "MM"):
            for corner, xy in fov.pop(unit).items():
                fov[corner + unit] = xy
        fov["channelIdx"] = [2]
    return meta


def rotated(real, version="0.1.4"):
    """Before 0.1.5: the axes of the image were rotated twice."""
    meta = {**copy.deepcopy(real), "version": version}
    center = meta["centerMM"]
    transform = np.array([[0.15, 0], [0, -0.15], [center["ML"], center["AP"]]])
    meta["coordsTF"] = transform.tolist()
    for fov in meta["FOV"]:
        fov["MM"] = {corner: ([*xy, 1.0] @ transform).tolist() for corner, xy in fov["Deg"].items()}
    return meta


def renamed(real):
    """0.1.0: another name for the ROI's identifier."""
    meta = rotated(real, "0.1.0")
    for fov in meta["FOV"]:
        fov["roiUuid"] = fov.pop("roiUUID")
    return meta


def located(real):
    """Before 0.2.2: positions in the brain without provenance."""
    meta = copy.deepcopy(real)
    for fov in meta["FOV"]:
        fov["MLAPDV"] = {name: [1.0, 2.0, 3.0] for name in (*CORNERS, "center")}
        fov["brainLocationIds"] = dict.fromkeys((*CORNERS, "center"), 997)
    return meta


def off_centre(real):
    """A window whose centre is not that of the image."""
    meta = rotated(real)
    meta["centerDeg"] = {"x": 1.5, "y": -0.5}
    meta["centerMM"] |= {"x": 0.225, "y": -0.075}
    return meta


VERSIONS = {f.__name__: f for f in (unversioned, rotated, renamed, located, off_centre)}
