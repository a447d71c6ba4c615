"""HTTP to a server of Alyx: login, time-outs, tries again where that is safe, and names for what goes wrong.

What belongs here: requests and what their failures mean. What does not: what is asked (``connection`` gives that the
form of one-api's client, and each kind of record has a module).

What is tried again follows from what may have happened. A request that never arrived (a refused connection) or was
turned away (429) is sent again, whatever it is. A read, and a change that sets values, may be sent twice. A post whose
answer was lost may have been carried out: it is an :class:`AnswerLostError`, and whoever sent it looks first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from ...errors import AlyxError, AlyxUnavailableError, SettingsError
from ...json_text import json_text
from .answers import (
    FAILED,
    TURNED_AWAY,
    AnswerLostError,
    RefusedError,
    detail,
    is_page,
    is_passing,
    retry_after,
    shown,
    token_in,
)

if TYPE_CHECKING:
    import requests

#: A wait that the server asks for, beyond which what is to be sent waits for a later run, s.
_LONGEST_WAIT_S = 90.0
_FIRST_WAIT_S = 0.5
#: Longest wait for a connection, s.
_CONNECT_S = 10.0
_SCHEMA = "/api/schema"


class Transport:
    """Requests to one server, as one user.

    Parameters
    ----------
    url
        Address of the server.
    user
        Name of the user. Alyx does not tell whose a token is, and notes carry the name.
    password, token
        One of them.
    timeout_s
        Longest wait for each part of an answer, s; for a connection, at most 10 s.
    tries
        How often a request is sent at most.
    wait
        Waits for a number of seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str,
        password: str | None,
        token: str | None,
        timeout_s: float,
        tries: int,
        wait: Callable[[float], None],
    ) -> None:
        import requests

        self.url, self.user = _checked_url(url), user
        self._password, self._token, self._tries, self._wait = password, token or None, tries, wait
        if not user or not (password or token):
            missing = "ALYX_USER" if not user else "ALYX_PASSWORD or ALYX_TOKEN"
            raise SettingsError.at(
                "environment",
                field=missing,
                expected="a user of Alyx with a password or a token",
                found="nothing",
                remedy=f"Set {missing} in the environment of the program, not in a file of settings",
            )
        _insist_on_one_line(token or "")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        #: HTTP requests so far, with those that were tried again.
        self.n_requests = 0

    def __repr__(self) -> str:
        return f"Transport({self.url!r}, user={self.user!r})"

    def request(
        self,
        method: str,
        path: str,
        data: object = None,
        files: Mapping[str, BinaryIO] | None = None,
    ) -> Any:  # noqa: ANN401  JSON
        """Send a request and return the JSON of its answer; lists come whole, all pages of them.

        Raises
        ------
        AlyxUnavailableError
            If the server cannot be reached after all tries, or something else answers in its place.
        AnswerLostError
            If a post may have been carried out, but no answer came back.
        RefusedError
            If the server refuses it.
        """
        # read once: a file that was sent is at its end when it is sent again
        content = None if files is None else {name: (Path(f.name).name, f.read()) for name, f in files.items()}
        answer = self._one(method, path, data, content)
        if method != "get" or not (isinstance(answer, dict) and {"next", "results"} <= answer.keys()):
            return answer
        rows, following = list(answer["results"]), answer["next"]
        while following:
            parts = urlsplit(following)
            path = parts.path.removeprefix(urlsplit(self.url).path)
            page = self._one("get", f"{path}?{parts.query}", None, None)
            rows += page["results"]
            following = page["next"]
        # the count of the server may be another one: some lists name a record twice
        return {"count": len(rows), "next": None, "previous": None, "results": rows}

    def _one(self, method: str, path: str, data: object, files: Mapping[str, tuple[str, bytes]] | None) -> Any:  # noqa: ANN401  JSON
        repeats, renewed = method != "post", False
        problem = ""
        for attempt in range(self._tries):
            pause, is_login = _FIRST_WAIT_S * 2**attempt, self._token is None
            try:
                busy = self._log_in() if is_login else None
                is_login = busy is not None
                reply = busy if busy is not None else self._send(method, path, self._headers(path, files), data, files)
            except OSError as error:  # those of requests are such
                problem, was_sent = self._told(error)
                if was_sent and not is_login and not repeats:
                    raise self._lost(method, path, problem) from None
            else:
                if reply.status_code == 403 and "Invalid token" in reply.text and self._password and not renewed:
                    self._token, renewed = None, True
                    continue
                if not is_passing(reply, once_more=method == "get" and attempt == 0):
                    return self._read(method, path, reply)
                problem = f"{reply.status_code} {shown(reply)}"
                if reply.status_code != TURNED_AWAY and not is_login and not repeats:
                    raise self._lost(method, path, problem)
                pause = max(pause, retry_after(reply))
                if pause > _LONGEST_WAIT_S:
                    break
            if attempt + 1 < self._tries:
                self._wait(pause)
        raise self._unavailable(problem)

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        data: object,
        files: Mapping[str, tuple[str, bytes]] | None,
    ) -> requests.Response:
        self.n_requests += 1
        body: Any = data if files is not None or data is None else self._json(path, data)
        return self._session.request(
            method.upper(),
            self.url + path,
            headers=dict(headers),
            data=body,
            files=files,
            timeout=(min(_CONNECT_S, self._timeout_s), self._timeout_s),
            auth=_as_it_is,  # else a .netrc would replace the token
            allow_redirects=method == "get",
        )

    def _json(self, path: str, data: object) -> str:
        try:
            return json_text(data)
        except ValueError as error:  # Alyx takes and gives what is no JSON
            raise AlyxError.at(
                f"{self.url}{path}",
                expected="finite numbers in what is sent",
                found="NaN or an infinity, from the JSON of this record in Alyx",
                remedy="Correct the JSON of the record in Alyx, then run this again",
            ) from error

    def _headers(self, path: str, files: object) -> dict[str, str]:
        headers = {"Accept": "application/json", "Authorization": f"Token {self._token}"}
        if path.startswith(_SCHEMA):
            headers |= {"Accept": "application/vnd.oai.openapi+json", "Accept-Version": "3.0"}
        return headers if files is not None else {**headers, "Content-Type": "application/json"}

    def _log_in(self) -> requests.Response | None:
        """Ask for the token of the user; returns the answer of a server that is busy, or else nothing."""
        credentials = {"username": self.user, "password": self._password}
        head = {"Accept": "application/json", "Content-Type": "application/json"}
        reply = self._send("post", "/auth-token", head, credentials, None)
        if is_passing(reply):
            return reply
        if is_page(reply):
            raise self._unavailable(f"{reply.status_code} {shown(reply)}")
        if reply.status_code >= FAILED:
            raise self._unavailable(f"at the login {reply.status_code}: {detail(reply)}")
        if reply.status_code != 200:
            raise AlyxError.at(
                self.url,
                field="user",
                expected=f"a login of user {self.user}",
                found=f"{reply.status_code}: the server does not take it",
                remedy="Correct ALYX_USER and ALYX_PASSWORD (or ALYX_TOKEN) in the environment",
            )
        self._token = token_in(reply)
        if self._token is None:
            raise self._unavailable("a login without a token: another server answers at this address")
        return None

    def _read(self, method: str, path: str, reply: requests.Response) -> Any:  # noqa: ANN401  JSON
        if is_page(reply) and reply.status_code != 404:
            problem = f"a page of HTML ({reply.status_code}): a proxy or another server answers"
            if method == "post":
                raise self._lost(method, path, problem)
            raise self._unavailable(problem)
        if reply.status_code == 204:
            return None
        if reply.ok:
            try:
                return reply.json()
            except ValueError:
                raise self._lost(method, path, "an answer that is no JSON") from None
        if reply.status_code == 404 and path.startswith(_SCHEMA):
            raise RefusedError.of(
                self.url, 404, "no schema of Alyx", "Set MESO_ALYX_URL to the address of Alyx itself, 3.6 or later"
            )
        where = f"{self.url}{path.partition('?')[0]}"
        raise RefusedError.of(where, reply.status_code, detail(reply), self._remedy(reply))

    def _remedy(self, reply: requests.Response) -> str:
        if reply.status_code == 403 and "Invalid token" in reply.text:
            return "The token is not valid any more: set ALYX_TOKEN to a new one, or ALYX_PASSWORD"
        if reply.status_code == 403:
            return f"Give user {self.user} the right to do this in Alyx, or set ALYX_USER to one who has it"
        if reply.status_code >= 500:
            return (
                "The log of the server tells why; enter there what is named here, if it is missing. Then run this again"
            )
        return "Correct in Alyx, or in the settings, what the message names; then run this again"

    def _told(self, error: OSError) -> tuple[str, bool]:
        """Say what went wrong without the text of the library, and whether the request may have arrived."""
        import requests
        from urllib3.exceptions import NewConnectionError

        cause = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(cause, NewConnectionError) or isinstance(error, requests.exceptions.ConnectTimeout):
            return "no connection", False
        if isinstance(error, requests.exceptions.Timeout):
            return f"no answer within {self._timeout_s:g} s", True
        return f"the connection broke off ({type(error).__name__})", True

    def _unavailable(self, problem: str) -> AlyxUnavailableError:
        return AlyxUnavailableError.at(
            self.url,
            expected="an answer of Alyx",
            found=problem or "none",
            remedy="What is to be sent waits. Check MESO_ALYX_URL and that the server runs; then run this again",
        )

    def _lost(self, method: str, path: str, problem: str) -> AlyxUnavailableError:
        return AnswerLostError.at(
            self.url,
            expected=f"an answer to {method.upper()} {path.partition('?')[0]}",
            found=problem,
            remedy="It may have been carried out, or still be. Run this again in 10 minutes: what arrived is found, "
            "the rest is sent",
        )


def _insist_on_one_line(token: str) -> None:
    """Refuse a token that no request can carry, without showing it."""
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise SettingsError.at(
            "environment",
            field="ALYX_TOKEN",
            expected="one line of letters and digits",
            found="a line break, a space at an end, or another character that no token has",
            remedy='Set it to the token alone, as in ALYX_TOKEN="$(cat FILE)"',
        )


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    has_user = "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or has_user:
        found = "an address with a name or a password in it" if "@" in url else repr(url)
        raise SettingsError.at(
            "MESO_ALYX_URL",
            expected="the address of the server, as in https://alyx.example.org",
            found=found,
            remedy="Correct MESO_ALYX_URL; the user and the password come from ALYX_USER and ALYX_PASSWORD",
        )
    return url.rstrip("/")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
