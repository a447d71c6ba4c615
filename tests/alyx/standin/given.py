"""What was entered before a session comes: a lab with its repositories, subjects, surgeries, sessions.

All is entered as a person or a script does it at a real server, over HTTP; only what has no REST create is put into the
tables of the stand-in (``genotype``, ``surgery``), for which a real server needs its admin site.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests

from .server import StandIn

USER, PASSWORD = "experimenter", "let-me-in"


@dataclass
class Given:
    """Somebody with all rights at a server; names are new for each, so that a real server can be used many times."""

    url: str
    user: str = USER
    password: str = PASSWORD
    #: The stand-in behind the address; None for a real server.
    stand_in: StandIn | None = None
    tag: str = field(default_factory=lambda: uuid4().hex[:8])
    #: Name of the lab.
    lab: str = ""

    def __post_init__(self) -> None:
        self.lab = self.lab or f"lab_{self.tag}"
        self._http = requests.Session()
        self.log_in()

    def log_in(self) -> None:
        self._http.headers.pop("Authorization", None)
        answer = self._http.post(f"{self.url}/auth-token", json={"username": self.user, "password": self.password})
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Token {answer.json()['token']}"

    def close(self) -> None:
        self._http.close()

    def call(self, method: str, path: str, **content: Any) -> Any:
        address = f"{self.url}/{path.lstrip('/')}"
        answer = self._http.request(method, address, timeout=60, **content)
        if answer.status_code == 403 and "Invalid token" in answer.text:
            self.log_in()
            answer = self._http.request(method, address, timeout=60, **content)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None

    def rows(self, path: str) -> list[dict[str, Any]]:
        """All rows of a list, over all its pages."""
        found: list[dict[str, Any]] = []
        mark = "&" if "?" in path else "?"
        while True:
            page = self.call("GET", f"{path}{mark}limit=1000&offset={len(found)}")
            found += page["results"]
            if len(found) >= page["count"] or not page["results"]:
                return found

    @property
    def repository(self) -> str:
        return f"repository_{self.tag}"

    def a_lab(self, data_url: str = "http://127.0.0.1:9/data/") -> str:
        """Enter a lab with one repository, a server that ONE may read from."""
        described = {"name": self.repository, "hostname": self.tag, "globus_is_personal": False, "data_url": data_url}
        self.call("POST", "/data-repository", json=described)
        self.call("POST", "/labs", json={"name": self.lab, "repositories": [self.repository]})
        return self.lab

    def types(self) -> None:
        """Enter the dataset types that meso's datasets need and a fresh server has not."""
        known = {row["name"] for row in self.rows("dataset-types")}
        for name in sorted({"mpci.excludedFrames"} - known):
            self.call("POST", "/dataset-types", json={"name": name})

    def subject(self, nickname: str) -> str:
        self.call("POST", "/subjects", json={"nickname": nickname, "lab": self.lab})
        return nickname

    def session(self, subject: str, date: str, number: int = 1, **more: Any) -> str:
        """Enter a session; its id."""
        described = {"subject": subject, "start_time": f"{date}T10:00:00", "number": number, **more}
        return str(self.call("POST", "/sessions", json={"procedures": ["Imaging"], **described})["id"])

    def surgery(self, subject: str, start_time: str, noted: Any, procedure: str = "Craniotomy") -> str:
        """Enter a surgery with its JSON, as the admin site does."""
        described = {"subject": subject, "start_time": start_time, "json": noted, "procedures": [procedure]}
        return str(self._tables["surgeries"].add(**described, users=[], location="", narrative="")["id"])

    def genotype(self, subject: str, **zygosity: int) -> None:
        """Enter alleles with their zygosity, as the admin site does; ``_`` stands for ``-``."""
        alleles = [(name.replace("_", "-"), number) for name, number in zygosity.items()]
        record = self._tables["subjects"].get(subject)
        assert record is not None
        self._tables["lines"].add(name=f"line of {subject}", alleles=[name for name, _ in alleles])
        record.update(genotype=alleles, line=f"line of {subject}")

    @property
    def _tables(self) -> Any:
        assert self.stand_in is not None, "a real server takes this from its admin site only"
        return self.stand_in.tables
