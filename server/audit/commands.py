"""`tria audit …`: the trail from the command line."""

from __future__ import annotations

from collections.abc import Mapping

import click

from server.lazy_group import LazyGroup

_COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "verify": ("server.audit.verify_command", "verify", "Check an export, offline."),
    "export": ("server.audit.export_command", "export", "Export a tenant's trail."),
    "key": ("server.audit.key_command", "key", "Print the public keys that sign the trail."),
    "coverage": ("server.audit_coverage", "coverage", "Say whether every RPC leaves a record."),
    "report": ("server.audit.report_command", "report", "Summarise a period for compliance."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def audit() -> None:
    """The audit trail: who did what, and proof that it was not changed since."""
