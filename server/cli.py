"""The command line, `tria …`. Exit codes: 0 done, 1 failed, 2 wrong use.

Each command is imported when it is called: `tria token` must not wait for what `tria serve` needs.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from server.lazy_group import LazyGroup

_COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "up": ("server.commands", "up", "Start the whole system on this machine and keep it running."),
    "serve": ("server.commands", "serve", "Serve the RPCs until told to stop."),
    "worker": ("server.commands", "worker", "Run background jobs until told to stop."),
    "migrate": ("server.commands", "migrate_command", "Bring the database to the newest schema."),
    "monitor": ("server.embedded.monitor_command", "monitor", "Watch a running system with Prometheus."),
    "doctor": ("server.doctor", "doctor", "Say what is configured and what is reachable."),
    "token": ("server.embedded.token_command", "token", "Make a token of the embedded issuer."),
    "knowledge": ("server.knowledge.commands", "knowledge", "Import documents and measure retrieval."),
    "products": ("server.order.commands", "products", "Import the catalogue."),
    "intents": ("server.chat.commands", "intents", "Measure how well wishes are understood, and train that."),
    "injection": ("server.chat.injection_commands", "injection", "Measure what attacks by words reach."),
    "orders": ("server.chat.order_commands", "orders", "Read order lines from messages and measure how well."),
    "xero-sandbox": ("server.embedded.xero_sandbox.command", "xero_sandbox", "Run a Xero of our own, for development."),
    "accounting": ("server.accounting.commands", "accounting", "Connect to the books that invoices are posted to."),
    "audit": ("server.audit.commands", "audit", "Verify, export and report the audit trail."),
    "subjects": ("server.people_commands", "subjects_command", "Give out, erase or hold a person's data."),
    "keys": ("server.people_commands", "keys", "Rotate the keys that seal personal data."),
    "retention": ("server.retention_command", "retention", "Remove what is too old."),
    "backup": ("server.backup.commands", "backup", "Back up the database."),
    "restore": ("server.backup.commands", "restore", "Restore a backup and prove its audit log."),
    "cache": ("server.cache_commands", "cache", "Answer ahead of time what is asked often."),
    "deploy": ("server.rollout.commands", "deploy", "Try an environment, move calls between versions."),
    "probe": ("server.probe", "probe", "Ask a server whether it serves, for health checks."),
    "pii": ("server.pii.commands", "pii", "Find and scrub personal data in text."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tria", prog_name="tria")
def main() -> None:
    """TRIA: the customer desk of a B2B supplier. Chat, orders and audit over gRPC, behind Envoy."""
