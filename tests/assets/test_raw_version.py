"""What counts as the raw session."""

import shutil

from meso_assets.resources import Platform
from meso_assets.settings import load_settings
from meso_core.session import SessionKey


def test_locations_added_to_the_rigs_metadata_do_not_change_the_raw_version(tmp_path):
    key = SessionKey.parse("SP035/2023-03-03/001")
    bout = key.folder(tmp_path) / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    meta = bout / "_ibl_rawImagingData.meta.json"
    meta.write_text('{"FOV": []}')
    platform = Platform.open(load_settings({"root": tmp_path, "home": tmp_path / "home"}))
    before = platform.session(str(key)).raw_version()
    shutil.copy2(meta, meta.with_name(meta.name + ".rig"))
    meta.write_text('{"FOV": [], "MLAPDV": 1}')
    assert platform.session(str(key)).raw_version() == before
    meta.with_name(meta.name + ".rig").unlink()
    assert platform.session(str(key)).raw_version() != before
