"""The OpenAPI schema: ``AlyxClient`` refuses what is not in it, without asking the server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .resource import Resource


def schema(resources: Iterable[Resource]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for resource in resources:
        name = type(resource).__name__
        parts[name] = {"type": "object", "properties": {field: {} for field in resource.fields}}
        if resource.list_methods:
            filters = ("limit", "offset", "django", *resource.filters)
            listing = {"GET": {"parameters": [{"in": "query", "name": n, "schema": {}} for n in filters]}}
            paths[f"/{resource.endpoint}"] = _operations(resource.list_methods, name, listing)
        if resource.one_methods:
            paths[f"/{resource.endpoint}/{{{resource.table.key}}}"] = _operations(resource.one_methods, name, {})
    parts["RegisterFile"] = {"type": "object", "properties": {"path": {}, "filenames": {}}}
    paths["/register-file"] = _operations(("POST",), "RegisterFile", {})
    paths["/check-protected"] = _operations(("GET",), "RegisterFile", {})
    paths["/auth-token"] = _operations(("POST",), "RegisterFile", {})
    return {"openapi": "3.0.3", "info": {"title": "Alyx"}, "paths": paths, "components": {"schemas": parts}}


def _operations(methods: Iterable[str], part: str, more: dict[str, Any]) -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for method in methods:
        operation = {"description": "", **more.get(method, {})}
        if method in ("POST", "PUT", "PATCH"):
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{part}"}}}
            operation["requestBody"] = {"content": content}
        operations[method.lower()] = operation
    return operations
