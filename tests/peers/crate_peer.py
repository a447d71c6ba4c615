"""Validate an RO-Crate in the peer's environment: ``python crate_peer.py FOLDER`` prints what is wrong, as JSON.

What the validator would fetch from the web, the context of RO-Crate, comes from the package ``rocrate``.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.utils.http import HttpRequester

(PACKAGE,) = find_spec("rocrate").submodule_search_locations
CONTEXT = json.loads((Path(PACKAGE) / "data" / "ro-crate.jsonld").read_text())


class Answer:
    status_code, ok, headers = 200, True, {"Content-Type": "application/ld+json"}
    text = json.dumps(CONTEXT)
    content = text.encode()

    def json(self):
        return CONTEXT

    def raise_for_status(self): ...


def get(self, url, *args, **options):
    if url != "https://w3id.org/ro/crate/1.1/context":
        raise RuntimeError(f"nothing else is fetched: {url}")
    return Answer()


HttpRequester.get = get
result = services.validate(
    ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="process-run-crate",
        requirement_severity=Severity.REQUIRED,
        skip_availability_check=True,
    )
)
told = [f"{issue.check.identifier}: {issue.message}" for issue in result.get_issues()]
Path(sys.argv[2]).write_text(json.dumps({"passed": result.passed(), "issues": told}))
