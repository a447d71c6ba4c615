"""The page: one file of HTML that needs nothing else, and asks nobody.

What belongs here: putting style, script and values into one text. Names of folders may hold anything: they are in the
page as JSON alone, and the script puts them there as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from meso_core.json_text import json_text

from .record import Overview

#: What ends a script or begins markup, in JSON that stands in a page.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="seconds" content="{seconds:.2f}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>meso: overview of sessions</title>
<style>{style}</style>
</head>
<body>
<noscript>This page shows its table by a script. Without scripts, <code>meso status</code> prints the same.</noscript>
<div id="page"></div>
<script type="application/json" id="values">{values}</script>
<script>{script}</script>
</body>
</html>
"""


def html_page(overview: Overview) -> str:
    """Make the page."""
    values = json_text(overview.as_record())
    for character, escaped in _ESCAPES.items():
        values = values.replace(character, escaped)
    style, script = _part("page.css"), _part("page.js")
    return _PAGE.format(
        policy=_policy(style, script), style=style, script=script, values=values, seconds=overview.seconds
    )


def seconds_of(head: str) -> float:
    """How long the look took that a page was made of, s, by the head of the page; 0 where it does not tell."""
    told = re.search(r'<meta name="seconds" content="(\d{1,6}\.\d\d)">', head)
    return float(told[1]) if told else 0.0


def _policy(style: str, script: str) -> str:
    """Let this style and this script run, and figures of the same place be shown; nothing else."""
    return f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src 'self' file:"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _part(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
