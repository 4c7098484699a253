"""`tria deploy …`: whether an environment is fit, and which version of the server gets how many calls."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import click
import yaml

from server.embedded.installed import installed_file
from server.rollout import draining
from server.rollout.figures import Gateway, Prometheus, Source, Version
from server.rollout.gateway import GatewaySettings, deployed
from server.rollout.judging import Limits
from server.rollout.moving import STEPS, Outcome, Pace, Rollout, Split, SplitFailed
from server.rollout.places import ClusterPlace, FilePlace
from server.rollout.smoke import Checked, Smoke, Visit
from server.signing import PublicKey

Command = Callable[..., Any]

_PACE, _LIMITS = Pace(), Limits()
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Origin(click.types.StringParamType):
    """Lists in variables of TRIA have commas; click's own have spaces."""

    def split_envvar_value(self, rv: str) -> list[str]:
        return [part.strip() for part in rv.split(",") if part.strip()]


@click.group("deploy")
def deploy() -> None:
    """Try an environment, and move calls between two versions of the server."""


@deploy.command()
@click.option("--url", required=True, help="The environment's front door.")
@click.option("--token-file", type=_FILE, required=True, help="Token of a customer with an outlet.")
@click.option("--auditor-token-file", type=_FILE, help="Token of an auditor; without it no proof is checked.")
@click.option("--audit-key", default="", help="Public key that must have signed the checkpoint (`tria audit key`).")
@click.option("--question", default="When do you deliver?", show_default=True, help="What is asked.")
@click.option("--sku", default="", help="What is quoted; the catalogue's first product when left out.")
@click.option("--quantity", default="20", show_default=True, help="How much of it.")
@click.option("--book", is_flag=True, help="Also confirm an order and wait for its invoice. Not in production.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds for each check.")
@click.option("--ca-file", type=_FILE, help="Certificate authority of the front door, if it is one of your own.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def smoke(
    *,
    url: str,
    token_file: Path,
    auditor_token_file: Path | None,
    audit_key: str,
    question: str,
    sku: str,
    quantity: str,
    book: bool,
    patience: float,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Try an environment through its front door. Exit code 1 when a check fails."""
    try:
        key = PublicKey.parse(audit_key) if audit_key else None
    except ValueError as error:
        raise click.UsageError(f"--audit-key: {error}") from error
    auditor = auditor_token_file.read_text().strip() if auditor_token_file else ""
    customer = token_file.read_text().strip()
    visit = Visit(url.rstrip("/"), customer, auditor, key, question, sku, quantity, book=book, patience=patience)

    def tell(check: Checked) -> None:
        if not as_json:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'} {check.name:<9} {check.seconds:5.1f} s  {check.said}")

    done = asyncio.run(_smoke(visit, ca_file, tell))
    if as_json:
        click.echo(json.dumps({"url": url, "ok": all(one.ok for one in done), "checks": [asdict(one) for one in done]}))
    raise SystemExit(0 if all(one.ok for one in done) else 1)


async def _smoke(visit: Visit, ca_file: Path | None, tell: Callable[[Checked], None]) -> list[Checked]:
    trust: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if ca_file else True
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
        return await Smoke(visit, session).run(tell)


def _place(command: Command) -> Command:
    """Where the split is written; one of both is given."""
    file = click.option("--split", type=click.Path(dir_okay=False, path_type=Path), help="File the gateway watches.")
    cluster = click.option("--namespace", default="", help="Or the cluster's namespace, by kubectl.")
    return file(cluster(command))


@deploy.command()
@click.argument("version", type=click.Choice([one.value for one in Version]))
@_place
@click.option("--gateway", default="", help="Metrics page of the gateway, http://HOST:9902/stats/prometheus.")
@click.option("--prometheus", default="", help="Or Prometheus, which knows every gateway.")
@click.option("--steps", default=",".join(map(str, STEPS)), show_default=True, help="Percent of the calls, growing.")
@click.option("--hold", default=_PACE.hold, show_default=True, help="Seconds that each step is looked at.")
@click.option("--look", default=_PACE.look, show_default=True, help="Seconds between looks.")
@click.option("--patience", default=_PACE.patience, show_default=True, help="Seconds until a step without calls fails.")
@click.option("--max-failed", default=_LIMITS.failed, show_default=True, help="Failed calls, 0 to 1.")
@click.option("--max-p95", default=_LIMITS.p95, show_default=True, help="Seconds within which 95 % are answered.")
@click.option("--least-calls", default=_LIMITS.least_calls, show_default=True, help="Calls that a verdict needs.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object; progress goes to stderr.")
def promote(
    *,
    version: str,
    split: Path | None,
    namespace: str,
    gateway: str,
    prometheus: str,
    steps: str,
    hold: float,
    look: float,
    patience: float,
    max_failed: float,
    max_p95: float,
    least_calls: int,
    as_json: bool,
) -> None:
    """Give VERSION (blue or green) more and more calls, and take them back when it fails.

    Exit code 1 when they were taken back.
    """
    if bool(gateway) == bool(prometheus):
        raise click.UsageError("one of --gateway and --prometheus is needed")
    source: Source = Gateway(gateway) if gateway else Prometheus(prometheus)
    limits = Limits(failed=max_failed, p95=max_p95, least_calls=least_calls)
    pace = Pace(_percents(steps), hold, look, patience)
    rollout = Rollout(
        Version(version),
        _split(split, namespace),
        source,
        limits=limits,
        pace=pace,
        tell=lambda line: click.echo(line, err=as_json),
    )
    try:
        outcome = asyncio.run(_until_told(rollout))
    except SplitFailed as error:
        raise click.ClickException(f"the gateway could not be told: {error}") from error
    if as_json:
        click.echo(json.dumps(asdict(outcome)))
    elif not outcome.promoted:
        click.echo(f"not promoted: {outcome.reason}", err=True)
    raise SystemExit(0 if outcome.promoted else 1)


async def _until_told(rollout: Rollout) -> Outcome:
    """Promotes; SIGTERM and SIGINT end it like a bad verdict."""
    promoting = asyncio.create_task(rollout.promote())
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not promoting.cancelling():  # told twice, it must not stop giving the calls back
            promoting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        return await promoting
    except asyncio.CancelledError:
        return Outcome(promoted=False, percent=0, reason="told to stop")


@deploy.command()
@click.argument("version", type=click.Choice([one.value for one in Version]))
@_place
def abort(version: str, split: Path | None, namespace: str) -> None:
    """Take all calls from VERSION (blue or green) at once."""
    left = 0 if Version(version) is Version.GREEN else 100
    try:
        asyncio.run(_split(split, namespace).set(left))
    except SplitFailed as error:
        raise click.ClickException(f"the gateway could not be told: {error}") from error
    click.echo(f"{Version(version).other} has all calls")


@deploy.command()
@click.option("--issuer", envvar="TRIA_JWT_ISSUER", required=True, help="Whose tokens are taken.", show_envvar=True)
@click.option("--audience", envvar="TRIA_JWT_AUDIENCE", required=True, help="For whom they are.", show_envvar=True)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    type=_Origin(),
    envvar="TRIA_ORIGINS",
    show_envvar=True,
    help="Of your own pages.",
)
@click.option("--blue", default="server:50051", show_default=True, help="The first version.")
@click.option("--green", default="server-green:50051", show_default=True, help="The second version.")
@click.option("--trusted-hops", default=0, show_default=True, help="Load balancers in front that speak HTTP.")
@click.option("--template", type=_FILE, help="The configuration to fill in; by default the one that came along.")
def gateway(
    issuer: str,
    audience: str,
    origins: tuple[str, ...],
    blue: str,
    green: str,
    trusted_hops: int,
    template: Path | None,
) -> None:
    """Print the gateway's configuration for an environment, for `envoy -c`."""
    loaded = yaml.safe_load((template or installed_file("envoy/envoy.yaml")).read_text(encoding="utf-8"))
    settings = GatewaySettings(issuer, audience, origins, blue, green, trusted_hops)
    click.echo(json.dumps(deployed(loaded, settings), indent=1))


@deploy.command()
@click.option("--admin", default="http://127.0.0.1:9901", show_default=True, help="The gateway's admin port.")
@click.option("--patience", default=30.0, show_default=True, help="Seconds that running calls and streams may take.")
def drain(admin: str, patience: float) -> None:
    """Tell the gateway to take no more, and wait until what runs has ended. Run beside it, before it is stopped."""
    try:
        left = asyncio.run(draining.drain(admin.rstrip("/"), patience))
    except draining.NotDrained as error:
        raise click.ClickException(str(error)) from error
    click.echo("drained" if left == 0 else f"{left} calls still run")


def _split(file: Path | None, namespace: str) -> Split:
    if file is not None and not namespace:
        return FilePlace(file)
    if namespace and file is None:
        return ClusterPlace(namespace)
    raise click.UsageError("one of --split and --namespace is needed")


def _percents(text: str) -> tuple[int, ...]:
    try:
        steps = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise click.UsageError("--steps: whole numbers with commas between them") from error
    if list(steps) != sorted(set(steps)) or steps[-1] != 100 or steps[0] < 1:
        raise click.UsageError("--steps: must grow from 1 or more to 100")
    return steps
