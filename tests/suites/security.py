"""Attacks on a real `tria up` over the wire, on this machine only, while an honest caller sees whether it still serves.

    python -m tests.suites.security [--examples 30] [--streams 10000] [--no-tests]

Every RPC fuzzed from its descriptor, raw HTTP/2, idle streams, forged tokens, paths, bodies, webhooks, injections; then
the attack tests that exist already (tests/security, tests/edge), `tria injection evaluate`, and bandit.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import resource
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import click
import grpc
import httpx
from rich.progress import Progress

from server.caller import Role
from server.embedded import demo
from server.embedded.issuer import Claims, Issuer
from tests.suites.results import REPORTS, ROOT, Result, finish, percentile
from tests.suites.running import running
from tests.suites.tested import run_tests
from tests.suites.watching import Watch, watching
from tests.suites.wire_frames import ATTACKS, PER_CONNECTION, Idle
from tests.suites.wire_fuzzing import Attacker, Findings, break_bytes, fuzz, inject, methods, refused
from tests.suites.wire_web import Web
from tests.support.edge import until
from tests.support.system import System

EXAMPLES = 30
STREAMS = 10_000
GROWTH = 200.0  # MiB
PER_STREAM = 100.0  # KiB that an open stream may cost in server and gateway together
MOST_STREAMS = 8000  # that one server process takes (interceptors/limits.py)
REASON = re.compile(r'"(?:reason|message)":\s*"([^"]*)"')
LOOKS = 20  # of the honest caller, at least, for each attack
TRACE = Path("/tmp/tria-was-here")  # noqa: S108  # what an injected command would make
CALLER_STREAMS = 25  # below what one caller may hold open
TABLES = (
    "select count(*) from customer_order union all select count(*) from tenant union all select count(*) from outlet"
)


@dataclass
class Canary:
    """An honest caller: looks every 50 ms whether the products can be read."""

    url: str
    issuer: Issuer
    took: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    async def sung(self, calls: int) -> None:
        """Waits for so many calls: a short attack must not pass for want of a look."""
        await until(lambda: len(self.took) >= calls, seconds=60)

    async def sing(self) -> None:
        number, name = 0, uuid.uuid4().hex[:8]  # somebody new for each attack: limits count per person
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as client:
            while True:
                claims = Claims(Role.CUSTOMER, demo.TENANT, f"canary-{name}-{number // 40}", "pizza-pronto-bugis")
                number += 1
                began = time.monotonic()
                try:
                    headers = {"authorization": f"Bearer {self.issuer.mint(claims)}"}
                    answer = await client.get("/v1/products?pageSize=1", headers=headers)
                    if answer.status_code != 200:
                        self.failed.append(f"{answer.status_code} {REASON.findall(answer.text)}")
                except httpx.TransportError as error:
                    self.failed.append(type(error).__name__)
                self.took.append(time.monotonic() - began)
                await asyncio.sleep(0.05)


@dataclass
class Siege:
    """One attacked system."""

    up: System
    result: Result
    watch: Watch
    issuer: Issuer
    told: Progress

    @property
    def port(self) -> int:
        return int(self.up.ready["http"].rpartition(":")[2])

    async def answered(self, subject: str) -> None:
        """Returns when a call of somebody new was answered, however."""
        claims = Claims(Role.CUSTOMER, demo.TENANT, subject, "pizza-pronto-bugis")
        headers = {"authorization": f"Bearer {self.issuer.mint(claims)}"}
        async with httpx.AsyncClient(base_url=self.up.ready["http"], timeout=30) as client:
            with suppress(httpx.TransportError):
                await client.get("/v1/products?pageSize=1", headers=headers)

    @asynccontextmanager
    async def with_canary(self, name: str, streams: int = 0) -> AsyncIterator[None]:
        """A bar for what the honest caller saw meanwhile, and for memory; `streams` stay open."""
        canary, before = Canary(self.up.ready["http"], self.issuer), await self.watch.look()
        singing = asyncio.create_task(canary.sing())
        try:
            yield
            await canary.sung(LOOKS)
        finally:
            singing.cancel()
            with suppress(asyncio.CancelledError):
                await singing
        after = await self.watch.look()
        parts = {part: round(after.memory.get(part, 0) - before.memory.get(part, 0), 1) for part in ("server", "envoy")}
        growth = sum(parts.values())
        self.result.figures.setdefault("canary", {})[name] = {
            "calls": len(canary.took),
            "failed": canary.failed[:20],
            "p99_s": round(percentile(canary.took, 0.99), 3),
            "growth_mib": parts,
        }
        self.result.most(f"{name}: calls of an honest caller that failed", len(canary.failed), 0, "R11")
        limit = GROWTH + streams * PER_STREAM / 1024
        self.result.most(f"{name}: memory growth of server and gateway", growth, limit, "R11", unit=" MiB", strict=True)


async def _wire(siege: Siege) -> None:
    task = siege.told.add_task("raw HTTP/2", total=len(ATTACKS))
    said = siege.result.figures.setdefault("frames", {})
    for name in ATTACKS:
        async with siege.with_canary(name):
            # a process of its own: its work must not look like a slow answer to the honest caller
            code, said[name] = await _run("frames", "tests.suites.wire_frames", name, str(siege.port))
        siege.result.holds(f"{name}: carried out, nothing of it taken", code == 0, said[name].strip()[-200:], "R11")
        siege.told.advance(task)


async def _idle(siege: Siege, wanted: int) -> None:
    """So many streams that stand open: real ones, by many callers, who watch orders."""
    connections = _connections(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    task, idle = siege.told.add_task("idle streams", total=connections), Idle(siege.port)
    async with siege.with_canary("idle streams", wanted):
        for number in range(connections):
            tokens = [
                siege.issuer.mint(
                    Claims(Role.CUSTOMER, demo.TENANT, f"idle-{number}-{each // CALLER_STREAMS}", "pizza-pronto-bugis",
                           timedelta(hours=1))
                )
                for each in range(PER_CONNECTION)
            ]  # fmt: skip
            with suppress(OSError):
                await idle.connection(tokens, b"")
            await asyncio.sleep(0.05)
            siege.told.advance(task)
        highest = idle.standing
        for _ in range(20):
            await asyncio.sleep(0.5)
            highest = max(highest, idle.standing)
        standing = idle.standing
    await idle.close()
    siege.result.figures["idle_streams"] = {
        "asked_for": wanted, "opened": idle.sent, "standing_after_10_s": standing, "most": highest,
        "connections": connections, "ended": dict(idle.said.most_common(10)),
    }  # fmt: skip
    _judge_idle(siege.result, wanted, sent=idle.sent, standing=standing)


def _connections(wanted: int, files: int) -> int:
    """How many connections so many streams need; a quarter of the open files that this process may have, at most."""
    needed = -(-wanted // PER_CONNECTION)
    return needed if files == resource.RLIM_INFINITY else min(needed, files // 4)


def _judge_idle(result: Result, wanted: int, *, sent: int, standing: int) -> None:
    """Compared with what was asked for: streams that could not be opened stood no more than those that were ended."""
    result.least("idle streams that stood open", standing, 0.95 * min(wanted, MOST_STREAMS), "R11")
    if sent < wanted:
        result.not_shown(f"{wanted} idle streams: this machine opened {sent}", "R11")


async def _rpcs(siege: Siege, examples: int) -> None:
    findings = Findings()
    task = siege.told.add_task("every RPC", total=len(methods()) + 1)
    async with siege.with_canary("fuzzing"):
        await asyncio.to_thread(_attack_rpcs, siege, findings, examples, task)
    _judge_fuzzing(siege.result, findings)


def _judge_fuzzing(result: Result, findings: Findings) -> None:
    """Bars for what came back, and that it was the RPCs that answered and not only who protects them from load."""
    result.figures["fuzzing"] = {
        "rpcs": len(methods()), "calls": findings.calls, "codes": dict(findings.codes), "wrong": findings.wrong[:50],
    }  # fmt: skip
    told = "; ".join(findings.wrong[:3]) or f"{findings.calls} calls of {len(methods())} RPCs"
    result.holds("every RPC answers anything with a code of the contract", not findings.wrong, told, "R11", "R1")
    away = findings.codes["UNAVAILABLE"] + findings.codes["RESOURCE_EXHAUSTED"]
    reached = 100 * (findings.calls - away) / max(1, findings.calls)
    result.least("calls of RPCs that neither limits nor absence answered", reached, 50, "R11", "R1", unit=" %")


def _attack_rpcs(siege: Siege, findings: Findings, examples: int, task: object) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{siege.port}") as channel:
        attacker = Attacker(channel, siege.issuer, findings)
        refused(attacker)
        siege.told.advance(task)  # type: ignore[arg-type]
        for method in methods():
            break_bytes(attacker, method)
            inject(attacker, method)
            fuzz(attacker, method, examples)
            siege.told.advance(task)  # type: ignore[arg-type]


async def _web(siege: Siege, folder: Path, variables: dict[str, str]) -> None:
    web = Web(siege.up.ready["http"], siege.issuer, folder)
    attacks: dict[str, Callable[[], Awaitable[str]]] = {
        "forged tokens": web.tokens, "paths": web.paths, "bodies": web.bodies, "injections": web.injections,
        "foreign pages": web.foreign_pages, "webhooks": partial(web.webhooks, variables["XERO_WEBHOOK_KEY"]),
    }  # fmt: skip
    task = siege.told.add_task("HTTP", total=len(attacks))
    for name, attack in attacks.items():
        already = len(web.wrong)
        async with siege.with_canary(name):
            measured = await attack()
        wrong = web.wrong[already:]
        siege.result.holds(f"{name} reach nothing", not wrong, "; ".join(wrong[:3]) or measured, "R11")
        siege.told.advance(task)
    siege.result.figures["web"] = {"calls": web.calls, "wrong": web.wrong}
    await web.close()


async def _under_siege(result: Result, told: Progress, examples: int, streams: int) -> None:
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(told, "security"))
        folder = up.state_dir
        variables = json.loads((folder / "environment.json").read_text())
        watch = await stack.enter_async_context(watching(up.pids, up.ready["metrics"]))
        siege = Siege(up, result, watch, Issuer(folder / "issuer"), told)
        # models and word lists are loaded with the first answer; that is no growth by an attack
        await up.answers("Can I return damaged boxes?")
        pids, connection = up.pids(), await asyncpg.connect(variables["TRIA_DATABASE_URL"])
        stack.push_async_callback(connection.close)
        await _web(siege, folder.parent, variables)
        await _wire(siege)
        await _rpcs(siege, examples)
        if streams:
            await _idle(siege, streams)
        counts = [row[0] for row in await connection.fetch(TABLES)]
        answer = await up.answers("When do you deliver, and what does it cost on Sentosa?")
        result.holds(
            "tables and tenant stand after the injections", counts[1] == 1 and counts[2] >= 7, str(counts), "R11"
        )
        result.holds("no command of an attack ran", not TRACE.exists(), "no file was made", "R11")  # noqa: ASYNC240  # one look
        result.holds("nothing was killed by an attack", up.pids() == pids, "same processes", "R11")
        result.holds("it still answers", answer["answerKind"] == "ANSWERED", answer["answerKind"], "R11")
        result.most("audit leaves lost", (await watch.look()).metrics.get("tria_audit_lost", math.inf), 0, "R10", "R11")


async def _run(name: str, *command: str) -> tuple[int, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await child.communicate()
    REPORTS.mkdir(exist_ok=True)
    (REPORTS / f"security-{name}.txt").write_bytes(output)
    return child.returncode or 0, output.decode(errors="replace")


async def _existing(result: Result, told: Progress) -> None:
    """The attack tests that exist already, the attacks by words, and the static scan."""
    task = told.add_task("tests, words, code", total=4)
    for name in ("security", "edge"):
        found = await run_tests(f"tests/{name}", REPORTS / f"security-{name}.xml")
        result.holds(f"tests/{name}", found.passed, found.told, "R11", "R17")
        told.advance(task)
    code, output = await _run("injection", "server", "injection", "evaluate")
    result.holds(
        "attacks by words reach nothing", code == 0, output.strip().splitlines()[-1][:160] if output else "", "R11"
    )
    told.advance(task)
    code, output = await _run("bandit", "bandit", "-q", "-r", "-f", "json", "server", "interceptors", "clients/python")
    _judge_scan(result, json.loads(output[output.index("{") :]))
    result.unproven.append(
        "known vulnerabilities of dependencies: needs an advisory service (pip-audit, osv), none is reachable offline"
    )
    told.advance(task)


def _judge_scan(result: Result, scanned: Mapping[str, Any]) -> None:
    """A bar for the static scan, which must have read the code, and all of it."""
    high = [found for found in scanned["results"] if found["issue_severity"] == "HIGH"]
    lines, unread = scanned["metrics"]["_totals"]["loc"], len(scanned["errors"])
    measured = f"{lines} lines, {unread} files unread, {len(high)} high, {len(scanned['results'])} in all"
    passed = not high and not unread and lines > 0
    result.holds("bandit finds nothing of high severity", passed, measured, "R11", "R12")


def left_out(result: Result, examples: int, streams: int, tests: bool) -> None:  # the options, in order
    """What a run with these options cannot show."""
    if examples < EXAMPLES:
        result.not_shown(f"{EXAMPLES} fuzzed requests of each RPC: these were {examples}", "R1", "R11")
    if streams < STREAMS:
        result.not_shown(f"{STREAMS} idle streams: this run was to open {streams}", "R11")
    if not tests:
        left = "tests/security, tests/edge, attacks by words, bandit: left out by --no-tests"
        result.not_shown(left, "R11", "R12", "R17")


async def measure(result: Result, told: Progress, examples: int, streams: int, *, tests: bool) -> None:
    REPORTS.mkdir(exist_ok=True)
    left_out(result, examples, streams, tests)
    await _under_siege(result, told, examples, streams)
    if tests:
        await _existing(result, told)
    canary = result.figures["canary"]
    result.plot("P99 of an honest caller, by attack", "bars", ("seconds", ""),
                seconds={name: each["p99_s"] for name, each in canary.items()})  # fmt: skip


@click.command(help=__doc__)
@click.option("--examples", default=EXAMPLES, show_default=True, help="Fuzzed requests of each RPC.")
@click.option("--streams", default=STREAMS, show_default=True, help="Idle streams.")
@click.option("--tests/--no-tests", default=True, show_default=True)
def main(examples: int, streams: int, *, tests: bool) -> None:
    """Attacks, stores, shows."""
    finish("security", lambda result, told: measure(result, told, examples, streams, tests=tests), asyncio.run)


if __name__ == "__main__":
    main()
