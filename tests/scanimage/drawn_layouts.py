"""Random layouts: what ScanImage can be told to record."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st
from scanimage_files import small_config

from meso_core.simulate import RoiConfig, ScanfieldConfig


@st.composite
def layouts(draw):
    """Settings of a recording, and how many ScanImage frames it has: a volume at least, and perhaps a part of one."""
    n_depths = draw(st.integers(1, 4))
    depths = tuple(
        draw(st.lists(st.sampled_from([0.0, 12.5, 30.0, 123.456, 60.0]), min_size=n_depths, max_size=n_depths))
    )
    mode, version = draw(st.sampled_from(["fast", "slow"])), draw(st.sampled_from(["2016b", "2018b", "2020"]))
    averaged = draw(st.sampled_from([1, 1, 2, 3]))
    may_repeat = mode == "slow" or version == "2020"
    per_slice = averaged * draw(st.integers(1, 3)) if may_repeat and (n_depths > 1 or averaged == 1) else 1
    averaged = averaged if per_slice % averaged == 0 or n_depths == 1 else 1
    flyback = averaged * draw(st.integers(0, 2)) if mode == "fast" and n_depths > 1 else 0
    rois = []
    for i in range(draw(st.integers(1, 3))):
        shape = (draw(st.integers(8, 12)) * 2, draw(st.integers(8, 12)) * 2)
        kind = draw(st.sampled_from(["everywhere", "planes", "between"]))
        zs, fields = (), ()
        if kind == "planes":
            zs = tuple(sorted(set(draw(st.lists(st.sampled_from(depths), min_size=1)))))
        if kind == "between":
            ends = draw(st.lists(st.sampled_from([-5.0, 0.0, 20.0, 60.0, 200.0]), min_size=2, max_size=3, unique=True))
            fields = tuple(
                ScanfieldConfig(
                    z, (draw(st.integers(-9, 9)) / 8, i * 1.0), (0.5, 0.25 * draw(st.integers(1, 4))),
                    (shape[0] + 2 * k, shape[1] + 4 * k), draw(st.sampled_from([0.0, 0.0, 30.0, 350.0])),
                )
                for k, z in enumerate(ends)
            )  # fmt: skip
        rois.append(RoiConfig((i - 1.0, 0.5), (0.8, 0.4), shape, zs, fields, name=f"ROI {i}"))
    beads = draw(st.booleans())
    channels = (1, 2, 3, 4, 5, 6)[: draw(st.integers(1, 6))] if beads else draw(st.sampled_from([(2,), (2, 3), (3, 2)]))
    config = dataclasses.replace(
        small_config(), rois=tuple(rois), zs=depths, frames_per_slice=per_slice, frames_averaged=averaged,
        flyback_frames=flyback, stack_mode=mode, scanimage=version, channels=channels, channels_are_depths=beads,
    )  # fmt: skip
    per_volume = n_depths * per_slice + flyback
    return config, per_volume + draw(st.integers(0, 2 * per_volume)) + averaged
