"""Runs of a session whose root is on a server wait for one another, as those of a folder do."""

import threading

from meso_assets.defs.running import claims
from meso_assets.defs.running.remote_claims import ClaimsOnServer, claims_of
from meso_core.processes import this_process
from meso_core.session import SessionKey
from meso_core.storage import Session, open_store
from meso_core.storage.remote.servers.filesystem import open_root
from meso_core.storage.remote.transfers.transfer import write_small

KEY = SessionKey.parse("SP035/2023-03-03/001")


def test_a_second_run_waits_says_for_whom_and_goes_on_when_the_asset_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_LOOK_EVERY_S", 0.05)
    write_small(open_root("memory://claimed"), f"{KEY}/raw_session.flag", b"")
    store = open_store("memory://claimed", scratch=tmp_path)
    session = Session(KEY, store.local(KEY), store)
    first, second = claims_of(session, "0123456789abcdef"), claims_of(session, "fedcba9876543210")
    assert isinstance(first, ClaimsOnServer)
    assert first.take(["rois", "frame_times"]) == ()
    told: list[str] = []
    waiting = threading.Thread(target=second.wait_for, args=(["rois"], told.append))
    waiting.start()
    while not told:
        waiting.join(0.05)
    first.give_back("rois")
    waiting.join(20)
    assert not waiting.is_alive()
    (text,) = told
    assert "rois is made by run 01234567" in text
    assert f"process {this_process().pid} on {this_process().host}" in text
    assert f"memory://claimed/{KEY}/.meso/claims" in text
    assert [claim.asset for claim in first.take(["rois"])] == ["rois"], "now it is the second one's"
    first.give_all_back()
    second.give_all_back()
    assert first.take(["rois"]) == ()
    first.give_all_back()
