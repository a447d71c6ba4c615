"""The depth of a field over time, told from the reference stack: what was put in is found, from a rig's files on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meso_core.imaging.fovs import plane
from meso_core.qc import Verdict
from meso_core.report import ReferenceFiles, ReportInputs, judge_session, make_report, tells_any_depth
from meso_core.report.measure.axial import AxialDrift, axial_drift
from meso_core.report.stacks import field_stack
from meso_core.scanimage import bin_per_plane, load_session_metadata
from meso_core.scanimage.reference_field import FieldStack, cut_field, read_reference_metadata, tells_depths
from meso_core.scanimage.reference_images import META_NAME, STACK_NAME, reference_images
from meso_core.simulate import load_truth, preset, simulate_session

N = 110
DEPTHS = tuple(float(z) for z in range(-25, 26, 5))


def recorded(folder: Path, **changes):
    """Inputs of a session of one field, its movie moved back by its true shifts, and what is true of it."""
    config = replace(preset("demo"), **{"frames_per_bout": (N,), "reference_depths_um": DEPTHS, "seed": 3, **changes})
    made = simulate_session(folder / "Subjects", replace(config, rois=config.rois[:1]))
    metadata, truth = load_session_metadata(made.session_path), load_truth(made.truth_path)
    (movie,) = bin_per_plane(made.session_path, metadata.imaging, folder / "suite2p")
    (fov,) = metadata.imaging.fovs
    raw, (true,) = plane.open_frames(movie.path, fov.shape), truth.fovs
    y, x = np.rint(np.asarray(true.shifts)).astype(int).T
    registered = np.stack([np.roll(frame, (-dy, -dx), (0, 1)) for frame, dy, dx in zip(raw, y, x, strict=True)])
    place = folder / "suite2p" / "plane0"
    registered.tofile(place / plane.REGISTERED)
    mean = registered.mean(axis=0)
    outputs = {"yoff": y, "xoff": x, "corrXY": np.full(N, 0.1), "badframes": np.asarray(true.bad_frames),
               "refImg": mean, "meanImg": mean, "yrange": [0, fov.ny], "xrange": [0, fov.nx]}  # fmt: skip
    plane.save_objects(place / "reg_outputs.npy", outputs)
    (images,) = reference_images(made.session_path, folder / "published")
    reference = folder / "published" / images.bout / "reference"
    inputs = ReportInputs(
        made.key,
        metadata=metadata,
        planes={fov.name: place},
        movies={fov.name: place / plane.REGISTERED},
        references={images.bout: ReferenceFiles(reference / STACK_NAME, reference / META_NAME)},
    )
    return inputs, true


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("drift"), axial_drift_um=12.0)


def measured(inputs) -> AxialDrift:
    (fov,) = inputs.metadata.imaging.fovs
    movie = plane.open_frames(inputs.movies[fov.name], fov.shape)
    bad = plane.load_dict(inputs.planes[fov.name] / "reg_outputs.npy")["badframes"]
    found = axial_drift(movie, bad, field_stack(inputs, fov))
    assert found is not None
    return found


def verdict_on(inputs):
    return next(one for one in judge_session(inputs) if one.check == "axial_drift")


def test_a_drift_of_twelve_micrometres_is_found_in_the_reference_stack(drifting):
    inputs, true = drifting
    found, blocks = measured(inputs), np.array_split(np.flatnonzero(~np.asarray(true.bad_frames)), 10)
    depths = np.array([true.axial[frames].mean() for frames in blocks])
    assert np.ptp(depths) > 10
    np.testing.assert_allclose(found.um, depths, atol=2.5)
    assert found.range_um == pytest.approx(np.ptp(depths), abs=3.0)
    assert verdict_on(inputs).verdict is Verdict.WARNING


def test_a_field_that_stays_is_found_at_its_own_depth(tmp_path):
    inputs, _ = recorded(tmp_path, axial_drift_um=0.0)
    found = measured(inputs)
    np.testing.assert_allclose(found.um, 0, atol=1.5)
    assert found.range_um < 1.5
    assert verdict_on(inputs).verdict is Verdict.PASS


def test_the_page_shows_depth_over_time_with_the_limit_and_where_it_is_from(drifting):
    inputs, _ = drifting
    times = {"mpci.times": np.arange(N) / 6.0}
    page = make_report(replace(inputs, datasets={"FOV_00": times}, verdicts={"session_qc": [verdict_on(inputs)]}))
    html = page.html.decode()
    assert "Depth in the reference stack over time: FOV_00 " in html, "for who does not see it"
    assert "referenceImage.stack.tif" in html
    assert "beyond 10 µm from top to bottom" in html
    without = make_report(replace(inputs, datasets={"FOV_00": times}, references={})).html.decode()
    assert "Depth in the reference stack" not in without


def test_a_stack_of_another_place_or_an_empty_one_asks_for_a_look(drifting):
    inputs, _ = drifting
    (fov,) = inputs.metadata.imaging.fovs
    movie = plane.open_frames(inputs.movies[fov.name], fov.shape)
    own, bad = field_stack(inputs, fov), np.zeros(N, bool)
    other = np.random.default_rng(0).gamma(0.3, 300, own.images.shape)
    for images in (gaussian_filter(other, (0, 1.5, 1.5)), np.zeros_like(own.images)):
        found = axial_drift(movie, bad, replace(own, images=images.astype(np.float32)))
        assert np.isnan(found.um).all()
        assert np.isnan(found.range_um)
    assert axial_drift(movie, np.arange(N) > 20, own) is None, "too few good frames"


def test_a_block_at_an_end_of_the_stack_may_have_been_further():
    ends = {"frames": np.arange(3), "alike": np.ones(3), "reach_um": (-24.0, 24.0)}
    assert AxialDrift(um=np.array([0.0, 20.0, 24.0]), **ends).is_at_end
    assert not AxialDrift(um=np.array([0.0, 20.0, np.nan]), **ends).is_at_end


def test_a_field_lies_in_the_stack_where_the_scanner_was_whatever_the_pixels(drifting, tmp_path):
    inputs, _ = drifting
    (fov,), (files,) = inputs.metadata.imaging.fovs, inputs.references.values()
    meta = read_reference_metadata(files.metadata)
    first = meta.fovs[0]
    corner = np.array([one.deg.top_left for one in meta.fovs]).min(axis=0)
    span = np.subtract(first.deg.bottom_right, first.deg.top_left)

    def drawn(x, y):
        return 1000 + 300 * np.sin(8 * x) * np.cos(7 * y) + 100 * x

    import tifffile

    for coarser in (1, 2):
        nx, ny = first.nx // coarser, first.ny // coarser
        coarse = replace(meta, fovs=tuple(replace(one, nx=nx, ny=ny) for one in meta.fovs))
        pixel = span / (nx, ny)
        rows, columns = np.mgrid[:ny, : 3 * nx + 2]
        image = drawn(corner[0] + pixel[0] * (columns + 0.5), corner[1] + pixel[1] * (rows + 0.5))
        tifffile.imwrite(tmp_path / "stack.tif", np.stack([image] * len(DEPTHS)).astype(np.float32))
        found = cut_field(tmp_path / "stack.tif", coarse, fov)
        edge, step = found.margin_px, np.subtract(fov.deg.bottom_right, fov.deg.top_left) / (fov.nx, fov.ny)
        rows, columns = np.mgrid[: fov.ny, : fov.nx]
        expected = drawn(fov.deg.top_left[0] + step[0] * (columns + 0.5), fov.deg.top_left[1] + step[1] * (rows + 0.5))
        inner = found.images[0][edge : edge + fov.ny, edge : edge + fov.nx]
        np.testing.assert_allclose(inner, expected, atol=2.0)
    assert found.depths_um.tolist() == list(DEPTHS)


def test_depths_are_not_told_by_a_coarse_stack_nor_by_one_of_another_depth_or_place(drifting):
    inputs, _ = drifting
    (fov,), (files,) = inputs.metadata.imaging.fovs, inputs.references.values()
    meta = read_reference_metadata(files.metadata)
    assert tells_depths(meta, fov)
    assert tells_any_depth(files.metadata, [fov])
    wide = replace(meta.fovs[0].mm, top_right=tuple(np.add(meta.fovs[0].mm.top_left, (0, 3))))
    assert not tells_depths(replace(meta, fovs=(replace(meta.fovs[0], mm=wide),)), fov), "pixels larger than cells"
    assert not tells_depths(replace(meta, stack_depths_um=meta.stack_depths_um[::4]), fov), "too few depths"
    assert not tells_depths(
        replace(meta, stack_depths_um=tuple(d * 9 for d in range(25, 34))), replace(fov, depths_um=(20.0,))
    )
    assert not tells_depths(meta, replace(fov, depths_um=None))
    away = replace(fov, deg=replace(fov.deg, top_left=(9.0, 9.0), top_right=(9.5, 9.0), bottom_left=(9.0, 9.5)))
    assert cut_field(files.stack, meta, away) is None
    assert cut_field(files.stack, replace(meta, stack_depths_um=meta.stack_depths_um[1:]), fov) is None


def test_metadata_that_are_none_of_scanimages_are_passed_over_with_a_warning(tmp_path):
    (tmp_path / META_NAME).write_text("{}")
    with pytest.warns(UserWarning, match="Depths are not told"):
        assert not tells_any_depth(tmp_path / META_NAME, [])


def test_the_stack_of_a_field_keeps_its_order_and_sign():
    """Depths ascend, and a deeper focus is a positive one: as the simulator's, and as those of ScanImage's files."""
    rng = np.random.default_rng(1)
    planes = np.stack([gaussian_filter(rng.gamma(0.3, 300, (96, 96)), 2) for _ in range(7)])
    stack = FieldStack(planes.astype(np.float32), np.arange(-15.0, 16, 5), 16)
    movie = np.stack([planes[k, 16:-16, 16:-16] for k in np.linspace(1, 5, 60).round().astype(int)]) * 10
    found = axial_drift(movie.astype(np.int16), np.zeros(60, bool), stack)
    assert found.um[0] == pytest.approx(-10, abs=1)
    assert found.um[-1] == pytest.approx(10, abs=1)
