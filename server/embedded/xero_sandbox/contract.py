"""Xero's own OpenAPI file as a judge of both sides, when there is one: a contract that nobody here wrote.

Prism, the usual tool for that, checks no body of the circular schemas (invoices, payments, credit notes).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT4

_NAME = "urn:xero"
_MOST = 5  # problems named of one body


class Contract:
    """The schemas of `file`."""

    def __init__(self, file: Path) -> None:
        self._registry = _registry(file)

    def problems(self, schema: str, body: Any) -> list[str]:
        """What is wrong with `body` by the named schema; empty when nothing is."""
        reference = {"$ref": f"{_NAME}#/components/schemas/{schema}"}
        validator = jsonschema.Draft4Validator(reference, registry=self._registry)
        found = []
        for error in validator.iter_errors(body):
            found.append(f"{schema}{error.json_path[1:]}: {error.message[:200]}")
            if len(found) == _MOST:
                break
        return found


@cache  # parsing takes half a second, and tests make many sandboxes
def _registry(file: Path) -> Registry[Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with file.open() as stream:
        specification = yaml.load(stream, Loader=loader)  # noqa: S506  # both loaders are the safe ones
    registry: Registry[Any] = Registry().with_resource(_NAME, DRAFT4.create_resource(specification))
    return registry
