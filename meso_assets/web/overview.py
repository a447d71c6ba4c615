"""The overview in the interface: the page, and the figures and reports of sessions that it leads to.

What belongs here: answering for these paths, behind the guard. What the page holds is in ``overview``.
"""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meso_core.errors import MesoError, MissingInputError
from meso_core.opening import TABLE_BYTES, read_plain

from ..defs.reporting import REPORT, REPORT_FILE
from ..io.resources import Platform
from ..overview.links import OVERVIEW_PATH
from ..overview.refresh import refresh
from ..runs.settings.settings import MesoSettings

#: A page that is younger is shown as it is, s; and one that a person asks to have made again.
_YOUNG_S, _JUST_MADE_S = 10.0, 1.0
#: Ending of what is handed out → its type.
_TYPES = {".png": "image/png", ".html": "text/html; charset=utf-8", ".webm": "video/webm"}
_REPORT = re.compile(r"reports/([\w.-]+/)*[\w.-]+", re.ASCII)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # a report has scripts of its own; whoever put one there shall reach nothing of the interface by them: the page is
    # of no origin, and may ask nobody for anything
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; font-src data:; media-src 'self'",
}


def overview_routes(settings: MesoSettings, instance: dg.DagsterInstance) -> list[Route]:
    """Make the routes of the overview.

    Parameters
    ----------
    settings, instance
        Settings of the platform, and Dagster's records.
    """

    async def page(request: Request) -> Response:
        is_asked_for = "now" in request.query_params
        age = _JUST_MADE_S if is_asked_for else _YOUNG_S
        try:
            file = await run_in_threadpool(refresh, settings, instance, older_than_s=age, is_asked_for=is_asked_for)
            content = await run_in_threadpool(read_plain, file, TABLE_BYTES)
        except MesoError as error:
            return PlainTextResponse(f"The overview could not be made: {error}", status_code=503)
        return Response(content, media_type="text/html", headers={"Cache-Control": "no-store"})

    async def file(request: Request) -> Response:
        try:
            content, kind = await run_in_threadpool(
                shown_file, settings, instance, request.path_params["key"], request.path_params["path"]
            )
        except MesoError as error:
            return PlainTextResponse(str(error), status_code=404)
        return Response(content, headers={**_HEADERS, "Content-Type": kind})

    return [Route(OVERVIEW_PATH, page), Route(f"{OVERVIEW_PATH}/files/{{key:path}}/-/{{path:path}}", file)]


def shown_file(settings: MesoSettings, instance: dg.DagsterInstance, key: str, path: str) -> tuple[bytes, str]:
    """Read a figure or a report of a session; nothing else of it is handed out, and nothing beside it.

    Returns
    -------
    tuple
        Its bytes, and its type.

    Raises
    ------
    MesoError
        If there is no such session, the path is of something else, or a link leads out of the session.
    """
    kind = _TYPES.get(Path(path).suffix)
    if kind is None or _REPORT.fullmatch(path) is None or ".." in path.split("/"):
        raise _nothing(path)
    session = Platform.open(settings).session(key, instance)
    try:
        folder = session.fetch([path])
    except MissingInputError:
        if path != REPORT_FILE:
            raise
        remedy = f"Materialise {REPORT} of this session, or run `meso report {key}`"
        raise MissingInputError.at(key, expected="a report", found="none was made yet", remedy=remedy) from None
    if not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise _nothing(path)
    return read_plain(folder / path, TABLE_BYTES), kind


def _nothing(path: str) -> MissingInputError:
    return MissingInputError.at(
        path,
        expected="a figure or a report of a session",
        found="something else",
        remedy="Open it from the overview",
    )
