"""The command line, `tria …`. Exit codes: 0 done, 1 failed, 2 wrong use.

Each command is imported when it is called: `tria token` must not wait for what `tria serve` needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

_COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "up": ("server.commands", "up", "Start the whole system on this machine and keep it running."),
    "serve": ("server.commands", "serve", "Serve the RPCs until told to stop."),
    "worker": ("server.commands", "worker", "Run background jobs until told to stop."),
    "migrate": ("server.commands", "migrate_command", "Bring the database to the newest schema."),
    "doctor": ("server.doctor", "doctor", "Say what is configured and what is reachable."),
    "token": ("server.embedded.token_command", "token", "Make a token of the embedded issuer."),
    "knowledge": ("server.knowledge.commands", "knowledge", "Import documents and measure retrieval."),
    "products": ("server.order.commands", "products", "Import the catalogue."),
    "intents": ("server.chat.commands", "intents", "Measure how well wishes are understood, and train that."),
    "orders": ("server.chat.order_commands", "orders", "Read order lines from messages and measure how well."),
    "xero-sandbox": ("server.embedded.xero_sandbox.command", "xero_sandbox", "Run a Xero of our own, for development."),
    "accounting": ("server.accounting.commands", "accounting", "Connect to the books that invoices are posted to."),
    "pii": ("server.pii.commands", "pii", "Find and scrub personal data in text."),
}


class _Commands(click.Group):
    """Commands by name, imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature, here and below
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tria", prog_name="tria")
def main() -> None:
    """TRIA: the customer desk of a B2B supplier. Chat, orders and audit over gRPC, behind Envoy."""
