"""Frame times of a 90-minute recording, 10 DAQ channels at 1 kHz, against ibllib 4.0.0.

Both run in a process of their own on the same files, which lie in the page cache, and do the same: from the DAQ's files
and the imaging metadata on disk to times and line shifts of eight FOVs in memory. Time is the best of three calls;
memory is the peak of the resident set during the calls, mapped files included, less what the imports left resident.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from . import Row

MINUTES = 90

_MEASURE = """
import json, sys, time
from pathlib import Path
session = Path(sys.argv[1])
def resident_mb(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
{imports}
Path("/proc/self/clear_refs").write_text("5")  # the imports' peak is forgotten
before, seconds = resident_mb("VmRSS"), []
for _ in range(3):
    start = time.perf_counter()
    times = extract()
    seconds.append(time.perf_counter() - start)
found = dict(n=[len(t) for t in times], last=float(times[-1][-1]))
print(json.dumps(dict(s=min(seconds), mb=resident_mb("VmHWM") - before, **found)))
"""

_OURS = """
from meso_core.timing import extract_frame_times
def extract():
    return extract_frame_times(session).times
"""

# As the task MesoscopeSync does it, without writing files.
_PEER = """
import logging, warnings
warnings.simplefilter("ignore")
import one.alf.io as alfio
from ibllib.io.extractors.mesoscope import MesoscopeSyncTimeline
from ibllib.io.raw_daq_loaders import load_timeline_sync_and_chmap
logging.disable(logging.CRITICAL)
folders = [p.name for p in sorted(session.glob("raw_imaging_data_*"))]
def extract():
    events = alfio.load_object(session / "raw_sync_data", "softwareEvents").get("log")
    sync, chmap = load_timeline_sync_and_chmap(session / "raw_sync_data", save=False)
    n_fovs = len(alfio.load_object(session / folders[0], "rawImagingData")["meta"]["FOV"])
    extractor = MesoscopeSyncTimeline(session, n_fovs)
    return extractor._extract(sync=sync, chmap=chmap, device_collection=folders, events=events)[:n_fovs]
"""


def _long_session(root: Path) -> Path:
    from meso_core.simulate import preset, simulate_session

    config = preset("real")
    frames = int(MINUTES * 60 * 5.0 / 2)  # two bouts at 5 Hz, as the microscope of eight large fields has it
    config = dataclasses.replace(
        config, write_movie=False, frame_rate_hz=5.0, frames_per_bout=(frames, frames), daq_extra_channels=2
    )
    return simulate_session(root / "Subjects", config).session_path


def _measure(python: str, code: str, session: Path) -> dict[str, float]:
    script = _MEASURE.replace("{imports}", code)
    done = subprocess.run([python, "-c", script, str(session)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def rows() -> list[Row]:
    """Measure both."""
    peer_python = os.environ.get("MESO_PEER_PYTHON", ".venv-peer/bin/python")
    with tempfile.TemporaryDirectory() as folder:
        session = _long_session(Path(folder))
        for file in (session / "raw_sync_data").iterdir():  # into the page cache, for both
            file.read_bytes()
        ours = _measure(sys.executable, _OURS, session)
        peer = _measure(peer_python, _PEER, session)
    if ours["n"] != peer["n"] or abs(ours["last"] - peer["last"]) > 1e-9:
        raise RuntimeError(f"ours and the peer's times differ: {ours} and {peer}")
    on = f"{MINUTES} min, 10 channels at 1 kHz, 8 FOVs"
    return [
        Row("frame times, ibllib", peer["s"], ours["s"], "s", peer["s"] / ours["s"], "≥ 10", on),
        Row("peak memory of frame times, ibllib", peer["mb"], ours["mb"], "MB", peer["mb"] / ours["mb"], "≥ 10", on),
    ]
