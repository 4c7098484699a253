"""`tria monitor`: Prometheus and Alertmanager beside a running `tria up`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import click

from server.embedded.child import StartFailed
from server.embedded.loopback import HOST
from server.embedded.monitoring import Monitoring, Watched
from server.embedded.monitoring_config import Pace
from server.state_dir import default_state_dir


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Watch the system that `tria up` runs there; by default the usual place.",
)
@click.option(
    "--hurry",
    type=click.IntRange(1, 100),
    default=1,
    help="Divide every window and wait of the rules by this, and look every 2 s: for a game day.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines: one when all runs, then one for each notification.")
def monitor(state_dir: Path | None, hurry: int, *, as_json: bool) -> None:
    """Start Prometheus, Alertmanager and the exporters beside a running `tria up`, and print who is told what. Ctrl-C
    ends them; the system goes on."""
    pace = Pace() if hurry == 1 else Pace(hurry, 2)
    try:
        watched = Watched.at(state_dir or default_state_dir(os.environ, root=os.geteuid() == 0))
        asyncio.run(_run(watched, pace, as_json=as_json))
    except* StartFailed as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise click.ClickException(str(first)) from None


async def _run(watched: Watched, pace: Pace, *, as_json: bool) -> None:
    monitoring = Monitoring(watched, pace, _as_json if as_json else _as_text)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await monitoring.start(lambda line: click.echo(line, err=True))
        urls = {name: f"http://{HOST}:{monitoring.ports[name]}" for name in ("prometheus", "alertmanager")}
        click.echo(json.dumps(urls) if as_json else _INSTRUCTIONS.format(**urls))
        await stop.wait()
    finally:
        await monitoring.stop()


def _as_json(receiver: str, notification: Mapping[str, object]) -> None:
    alerts = cast("list[dict[str, Any]]", notification["alerts"])
    told = [{"alert": alert["labels"]["alertname"], "status": alert["status"]} for alert in alerts]
    click.echo(json.dumps({"receiver": receiver, "alerts": told}))


def _as_text(receiver: str, notification: Mapping[str, object]) -> None:
    if receiver == "dead-man-switch":
        return  # every minute, and that is the point of it
    for alert in cast("list[dict[str, Any]]", notification["alerts"]):
        notes = alert["annotations"]
        said = f"{alert['status']} {alert['labels']['alertname']}: {notes.get('summary')} ({notes.get('runbook')})"
        click.echo(f"{receiver}: {said}")


_INSTRUCTIONS = """
Prometheus and Alertmanager watch.

  alerts       {prometheus}/alerts
  targets      {prometheus}/targets
  who is told  {alertmanager}/

Notifications are printed here instead of going to PagerDuty, Slack and mail. Ctrl-C ends the watching.
"""
