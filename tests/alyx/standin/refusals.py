"""How the server says no."""

from __future__ import annotations

from typing import Any, NoReturn


class RefusalError(Exception):
    """An answer that is no success; ``body`` is sent as JSON with the status in it, or as HTML where it is text."""

    def __init__(self, status: int, body: dict[str, Any] | str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class InvalidError(Exception):
    """The value of one field is refused."""


def refuse(status: int, detail: str) -> NoReturn:
    raise RefusalError(status, {"detail": detail})


def not_found(model: str) -> NoReturn:
    refuse(404, f"No {model} matches the given query.")


def no_route() -> NoReturn:
    raise RefusalError(
        404, "<!doctype html><html><head><title>Not Found</title></head><body><h1>Not Found</h1></body></html>"
    )


def bad_set(*fields: str) -> NoReturn:
    raise RefusalError(400, {"non_field_errors": [f"The fields {', '.join(fields)} must make a unique set."]})
