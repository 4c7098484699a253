"""`tria xero-sandbox`: the sandbox by itself, for development and for `tria up`."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import click

from server.embedded.xero_sandbox.sandbox import serving, settings_from_environment
from server.embedded.xero_sandbox.settings import SandboxSettings

_LOOPBACK = ("127.0.0.1", "localhost")


@click.command("xero-sandbox")
@click.option("--listen", default="127.0.0.1:0", show_default=True, help="HOST:PORT on this machine; 0: any free port.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Where it remembers; else in memory.")
@click.option("--webhook-url", default="", help="Where news of invoices goes, signed with XERO_WEBHOOK_KEY.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line when it listens.")
def xero_sandbox(listen: str, state: Path | None, webhook_url: str, *, as_json: bool) -> None:
    """Run a Xero of our own: its accounting API, its tokens, its webhooks, and a page that shows what was booked.

    XERO_CLIENT_ID (sandbox-client), XERO_CLIENT_SECRET (sandbox-secret) and XERO_WEBHOOK_KEY (sandbox-webhook-key) are
    read from the environment. XERO_OPENAPI_FILE names Xero's OpenAPI file (xero_accounting.yaml): requests and answers
    are then checked by it.
    """
    host, _, port = listen.rpartition(":")
    if host not in _LOOPBACK or not port.isdigit() or int(port) > 65_535:
        raise click.BadParameter("must be 127.0.0.1:PORT or localhost:PORT", param_hint="--listen")
    settings = settings_from_environment(SandboxSettings(state=state, webhook_url=webhook_url))
    if settings.openapi and not settings.openapi.is_file():
        raise click.ClickException(f"XERO_OPENAPI_FILE: there is no file {settings.openapi}")
    try:
        asyncio.run(_serve(settings, host, int(port), as_json=as_json))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {listen}: {error.strerror}") from error


async def _serve(settings: SandboxSettings, host: str, port: int, *, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(settings, host=host, port=port) as sandbox:
        ready = {"url": sandbox.url, "api": sandbox.api_url, "checked_by_openapi": settings.openapi is not None}
        click.echo(json.dumps(ready) if as_json else f"Xero sandbox: {sandbox.url}/   API: {sandbox.api_url}")
        await stop.wait()
