"""`tria up`: the whole system on this machine, with one command and nothing to install beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from server.embedded.child import StartFailed
from server.embedded.instructions import instructions
from server.embedded.loopback import HOST
from server.embedded.stack import Migrate, Running, Seed, Stack, UpOptions
from server.state_dir import default_state_dir


class ConsoleProgress:
    """Steps with a spinner on a terminal and one plain line each anywhere else; always on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` while the body runs, and how long it took once it has ended well."""
        began = time.monotonic()
        with self._console.status(title):
            yield
        self._console.print(f"{title:<36}[green]done[/green] [dim]{time.monotonic() - began:.1f} s[/dim]")

    def note(self, text: str) -> None:
        """One line about something that happened."""
        self._console.print(text, markup=False, soft_wrap=True)


def up_command(*, migrate: Migrate, seed: Seed) -> click.Command:
    """The command; `migrate` brings a database to the newest schema, `seed` puts demo data in."""

    @click.command("up")
    @click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where data, keys and logs live. Default: $XDG_STATE_HOME/tria or ~/.local/state/tria; "
        "/var/lib/tria for root.",
    )
    @click.option("--port-http", type=click.IntRange(1, 65535), help="Default: 8080, or a free one when it is taken.")
    @click.option("--port-https", type=click.IntRange(1, 65535), help="Default: 8443, or a free one when it is taken.")
    @click.option("--demo/--no-demo", default=True, show_default=True, help="Demo data, and a page that is signed in.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON line on standard output when everything serves.")
    def up(state_dir: Path | None, port_http: int | None, port_https: int | None, *, demo: bool, as_json: bool) -> None:
        """Start PostgreSQL, Valkey, Chroma, a Xero sandbox, server, worker and gateway, and keep them running.

        TRIA_DATABASE_URL, TRIA_REDIS_URL and TRIA_CHROMA_URL name stores of your own instead. Ctrl-C lets what runs
        finish and stops everything; a second Ctrl-C does not wait.
        """
        place = state_dir or default_state_dir(os.environ, root=os.geteuid() == 0)
        options = UpOptions(place, port_http, port_https, demo)
        try:
            asyncio.run(_run(options, dict(os.environ), migrate=migrate, seed=seed, as_json=as_json))
        except StartFailed as error:
            raise click.ClickException(str(error)) from error

    return up


async def _run(options: UpOptions, environ: Mapping[str, str], *, migrate: Migrate, seed: Seed, as_json: bool) -> None:
    """Start, tell, wait for a signal, stop. Raises StartFailed."""
    progress = ConsoleProgress()
    stack = Stack(options, environ, progress, migrate=migrate, seed=seed)
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    starting = asyncio.create_task(stack.start(), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop requested")
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            running = starting.result()
            _announce(running, stack.pids(), progress, as_json=as_json)
            await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.wait({starting, stopping})
        stop.set()  # from here on a signal means hurry, however we got here
        await stack.stop(hurry)


def _announce(running: Running, pids: Mapping[str, int], progress: ConsoleProgress, *, as_json: bool) -> None:
    ports = running.ports
    for asked, used, name in ((8080, ports.http, "HTTP"), (8443, ports.https, "HTTPS")):
        if used != asked:
            progress.note(f"{name} is on port {used}.")
    if running.assistant == "offline":
        progress.note("The offline assistant answers (no language model): set OPENAI_API_KEY and OPENAI_MODEL for one.")
    if running.xero_sandbox:
        progress.note("Invoices go to a local Xero sandbox: set XERO_CLIENT_ID for an organisation of your own.")
    if not as_json:
        click.echo(instructions(running))
        return
    ready = {
        "http": f"http://{HOST}:{ports.http}",
        "https": f"https://localhost:{ports.https}",
        "grpc": f"{HOST}:{ports.http}",  # the gateway speaks it on the same port
        "internal_grpc": f"{HOST}:{ports.internal_grpc}",
        "metrics": f"http://{HOST}:{ports.metrics}/metrics",
        "xero_sandbox": running.xero_sandbox,
        "state_dir": str(running.state_dir),
        "pids": dict(pids),
    }
    click.echo(json.dumps(ready))
