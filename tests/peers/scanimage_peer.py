"""Patch a list of metadata with ibllib: read from one JSON file, written to another."""

import json
import sys
from pathlib import Path

from ibllib.io.extractors.mesoscope import patch_imaging_meta

source, target = sys.argv[1:]
patched = [patch_imaging_meta(meta) for meta in json.loads(Path(source).read_text())]
Path(target).write_text(json.dumps(patched))
