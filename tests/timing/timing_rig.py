"""Writes the DAQ files and metadata of a session as the rig does, with every detail under the test's control."""

import json
from pathlib import Path

import numpy as np

RATE = 1000.0


def imaging_meta(slices=(0, 0), n_lines=32, gap=5, frame_rate=10.0, line_starts=None):
    """Metadata of FOVs at the given slices; FOVs of a slice lie one under the other."""
    line_period = 1 / frame_rate / 400
    fovs, seen = [], {}
    for i, s in enumerate(slices):
        start = seen.get(s, 0) if line_starts is None else line_starts[i]
        seen[s] = start + n_lines + gap
        lines = list(range(start + 1, start + n_lines + 1))
        place = {"nXnYnZ": [16, n_lines, 1], "lineIdx": lines, "Deg": corners(start, n_lines)}
        place["MM"] = {name: [x / 10, y / 10] for name, (x, y) in place["Deg"].items()}
        fovs.append({"slice_id": s, "Zs": 100 + 50 * s, "roiUUID": f"R{start}", **place})
    rates = {"linePeriod": line_period, "scanFrameRate": frame_rate}
    rates["scanVolumeRate"] = frame_rate / (1 + max(slices))
    height = max(fov["lineIdx"][-1] for fov in fovs)
    return {
        "version": "0.2.1",
        "channelSaved": [2],
        "nFrames": 0,
        "centerMM": {"x": 0, "y": 0, "ML": 2.6, "AP": -2},
        "rawScanImageMeta": {"Software": "SI.acqState = 'grab'", "Height": height, "Width": 16},
        "scanImageParams": {"objectiveResolution": 150, "hRoiManager": rates},
        "FOV": fovs,
    }


def corners(first, n_lines, n_pixels=16):
    """Corners of a field whose pixels are 0.01 degrees wide."""
    top, bottom, right = first / 100, (first + n_lines) / 100, n_pixels / 100
    return {"topLeft": [0, top], "topRight": [right, top], "bottomLeft": [0, bottom], "bottomRight": [right, bottom]}


def write_timeline(
    folder,
    channels,
    *,
    order="C",
    dtype=np.float64,
    first_time=10.0,
    compact_times=False,
    measurements=None,
):
    """Write the three DAQdata files; ``channels`` maps a name to its samples."""
    folder.mkdir(parents=True, exist_ok=True)
    measurements = measurements or {}
    raw = np.asarray(np.column_stack(list(channels.values())), dtype=dtype, order=order)
    np.save(folder / "_timeline_DAQdata.raw.npy", raw)
    n = len(raw)
    times = first_time + np.arange(n) / RATE
    if compact_times:
        times = np.array([[0, times[0]], [n - 1, times[-1]]])
    np.save(folder / "_timeline_DAQdata.timestamps.npy", times)
    inputs = [
        {
            "name": name,
            "arrayColumn": i + 1,
            "daqChannelID": f"ctr{i}",
            "measurement": measurements.get(name, "EdgeCount"),
            "axesScale": 1,
        }
        for i, name in enumerate(channels)
    ]
    meta = {"daqSampleRate": RATE, "inputs": inputs}
    (folder / "_timeline_DAQdata.meta.json").write_text(json.dumps(meta))
    return folder


def counter(pulse_samples, n_samples, first=0.0, overflow=2.0**32):
    """Samples of an edge counter that rises at the given samples."""
    counts = np.zeros(n_samples)
    np.add.at(counts, pulse_samples, 1)
    return (first + np.cumsum(counts)) % overflow


def pulse_samples(n_per_bout, *, period=100, gap=3000, start=500):
    """Sample indices of the pulses of each bout: regular, with a gap between bouts."""
    bouts = []
    for n in n_per_bout:
        bouts.append(start + period * np.arange(n))
        start = int(bouts[-1][-1]) + gap
    return bouts


def write_session(root, n_frames=(40,), n_pulses=None, meta=None, events=None, folders=None, counter_start=0.0, **daq):
    """Write a session of which only the files for frame times exist; return its path and the pulses of each bout."""
    session = Path(root) / "SP035" / "2023-03-03" / "001"
    meta = meta or imaging_meta()
    bouts = pulse_samples(n_pulses or n_frames)
    n_samples = int(bouts[-1][-1]) + 700
    channels = {
        "chrono": np.zeros(n_samples),
        "neural_frames": counter(np.concatenate(bouts), n_samples, counter_start),
        "volume_counter": counter(
            np.concatenate([b[:: len({f["slice_id"] for f in meta["FOV"]})] for b in bouts]), n_samples
        ),
    }
    write_timeline(session / "raw_sync_data", channels, measurements={"chrono": "Voltage"}, **daq)
    times = 10.0 + np.arange(n_samples) / RATE
    names = folders or [f"raw_imaging_data_{i:02d}" for i in range(len(n_frames))]
    for name, n in zip(names, n_frames, strict=True):
        (session / name).mkdir(parents=True)
        (session / name / "_ibl_rawImagingData.meta.json").write_text(json.dumps({**meta, "nFrames": n}))
        np.save(session / name / "rawImagingData.times_scanImage.npy", np.arange(n) * 0.1)
    if events is not None:
        write_events(session / "raw_sync_data", events)
    return session, [times[b] for b in bouts]


def write_events(folder, events):
    lines = ["time\tname\tinfo"] + [f'{t}\t"{name}"\t"{info}"' for t, name, info in events]
    (folder / "_timeline_softwareEvents.log.htsv").write_text("\n".join(lines) + "\n")


def udp(kind, time, exp=1):
    return (time, "mpepUDP", f"{kind} SP035 20230303 {exp}")
