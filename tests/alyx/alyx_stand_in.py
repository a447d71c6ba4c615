"""An Alyx in memory for the endpoints that meso uses, with the rules and the refusals of a real server (3.6).

It stands for ``one.webclient.AlyxClient``: calls go to ``rest``, refusals are ``requests.HTTPError``. Reads that do not
say ``no_cache`` get what was read the first time, as the client's disk cache gives it.
"""

import copy
import json
from itertools import count
from uuid import UUID

from requests import HTTPError, Response

REGIONS = {0, 997, 385, 593, 821, 721, 778, 33, 305, 985, 320}
READ_ONLY = {"imaging-stack": {"partial_update"}, "surgeries": {"create"}}


def refuse(status, message):
    response = Response()
    response.status_code = status
    raise HTTPError(status, message, response=response)


class StandIn:
    def __init__(self, user="experimenter"):
        self.user = user
        self.records = {}  # endpoint -> id -> record
        self.calls = []  # (endpoint, action) of everything that was written
        self._ids = count(1)
        self._cache = {}

    def add(self, endpoint, **record):
        """Put a record in, as somebody else has."""
        record.setdefault("id", str(UUID(int=next(self._ids))))
        self.records.setdefault(endpoint, {})[record["id"]] = record
        return record["id"]

    def of(self, endpoint):
        return list(self.records.get(endpoint, {}).values())

    def rest(self, url, action, id=None, data=None, files=None, no_cache=False, **filters):
        if action in ("list", "read"):
            key = json.dumps([url, action, id, filters])
            if no_cache or key not in self._cache:
                found = self._list(url, filters) if action == "list" else self._read(url, id)
                self._cache[key] = copy.deepcopy(found)
            return copy.deepcopy(self._cache[key])
        if action in READ_ONLY.get(url, ()):
            refuse(405, "Method not allowed")
        self.calls.append((url, action))
        data = json.loads(json.dumps(data, allow_nan=False)) if files is None else {k: str(v) for k, v in data.items()}
        if action == "create":
            return self._create(url, data, files)
        assert action == "partial_update", action
        record = self._find(url, id)
        self._check(url, {**record, **data}, own=record["id"])
        record.update(data)
        self._settle_default(url, record)
        return self._read(url, id)

    def _find(self, url, id):
        for record in self.of(url):
            if id in (record["id"], record.get("nickname")):
                return record
        return refuse(404, f"No {url} matches the given query.")

    def _read(self, url, id):
        record = copy.deepcopy(self._find(url, id))
        if url == "fields-of-view":
            own = [r for r in self.of("fov-location") if r["field_of_view"] == record["id"]]
            own.sort(key=lambda r: not r["default_provenance"])
            record["location"] = [{k: v for k, v in r.items() if k not in ("field_of_view", "json")} for r in own]
        return record

    def _list(self, url, filters):
        rows = self.of(url)
        if "date_range" in filters:
            start, end = filters.pop("date_range")
            rows = [r for r in rows if start <= r["start_time"][:10] <= end]
        if "django" in filters:
            name, value = filters.pop("django").split(",")
            rows = [r for r in rows if r[name] == value]
        for name, value in filters.items():
            rows = [r for r in rows if str(r.get(name)).lower() == str(value).lower()]
        return rows[::-1] if url == "surgeries" else rows  # newest first

    def _create(self, url, data, files):
        self._check(url, data)
        if url == "notes":
            head = files["image"].read(8)
            if not head:
                refuse(400, {"image": ["The submitted file is empty."]})
            data["content_type"] = "actions.session"
        if url == "fov-location":
            data.setdefault("default_provenance", False)
        record_id = self.add(url, **data)
        self._settle_default(url, self.records[url][record_id])
        return self._read(url, record_id)

    def _settle_default(self, url, record):
        if url == "fov-location":
            record["brain_region"] = sorted(set(record["brain_region"]), reverse=True)  # the order is lost
            if record["default_provenance"]:
                for other in self.of(url):
                    if other["field_of_view"] == record["field_of_view"] and other is not record:
                        other["default_provenance"] = False

    def _check(self, url, data, own=None):
        def known(endpoint, value):
            if str(value) not in self.records.get(endpoint, {}):
                refuse(400, f"{endpoint}: object does not exist")

        def unique(*names):
            for other in self.of(url):
                if other["id"] != own and all(other[n] == data[n] for n in names):
                    refuse(400, {"non_field_errors": [f"The fields {', '.join(names)} must make a unique set."]})

        if url == "fields-of-view":
            known("sessions", data["session"])
            if data["imaging_type"] != "mesoscope":
                refuse(400, "imaging_type does not exist")
            if data["stack"] is not None:
                known("imaging-stack", data["stack"])
            unique("session", "name")
        elif url == "fov-location":
            known("fields-of-view", data["field_of_view"])
            if data["provenance"] not in list("EFLH") or data["coordinate_system"] != "IBL-Allen":
                refuse(400, "not a valid choice")
            for region in data["brain_region"]:
                if region not in REGIONS:
                    refuse(400, f"Object with id={region} does not exist.")
            if not all(isinstance(data[axis], list) for axis in "xyz"):
                refuse(400, "Expected a list of items")
            unique("field_of_view", "provenance")
        elif url == "notes":
            known("sessions", data["object_id"])
            if data["user"] != self.user:
                refuse(400, {"user": ["Object does not exist."]})
