"""`make gameday`: breaks each component of a system of its own, waits for the alert in a real Prometheus, does what the
runbook says, and waits until the alert is over. ARGS="RedisAway ChromaAway" plays only those.

The rules are the deployed ones, hurried: every window and wait is divided by twenty and scrapes come every 2 s
(`hurried` in server/embedded/monitoring_config.py), thresholds are as deployed. So the times printed say that detection
and recovery work and in which order, not how long they take in production; there, `for` and windows add twenty times as
much.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests.gameday.faults import FAULTS, Fault
from tests.gameday.ground import HURRY, Ground, played
from tests.support.monitored import MONITORING, ROOT

_PATIENCE = 120.0  # seconds for an alert to fire, and for it to end
console = Console(highlight=False, soft_wrap=True)


async def until(ground: Ground, alert: str, *, fires: bool) -> float | None:
    """Seconds until the alert fires, or no longer does; None when patience ended."""
    began = time.monotonic()
    while time.monotonic() < began + _PATIENCE:
        if ((await ground.watch.alerts()).get(alert) == "firing") is fires:
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    return None


async def play(ground: Ground, fault: Fault) -> dict[str, object]:
    """One fault, from quiet to quiet."""
    runbook = (MONITORING / "runbooks" / f"{fault.alert}.md").read_text()
    steps = runbook.split("## Mitigation")[1].split("## Escalation")[0]
    result: dict[str, object] = {"fault": fault.says, "alert": fault.alert, "mitigation": fault.mitigation}
    if fault.mitigation not in steps:
        return result | {"passed": False, "why": "the runbook does not say so"}
    if await until(ground, fault.alert, fires=False) is None:
        return result | {"passed": False, "why": "it fired before"}
    await fault.begin(ground)
    detected = await until(ground, fault.alert, fires=True)
    others = sorted(name for name, state in (await ground.watch.alerts()).items() if state == "firing")
    await fault.end(ground)
    recovered = await until(ground, fault.alert, fires=False)
    passed = detected is not None and recovered is not None
    rounded = {"detected_s": detected and round(detected, 1), "recovered_s": recovered and round(recovered, 1)}
    return result | rounded | {"also_fired": others, "passed": passed}


async def main(wanted: list[str]) -> bool:
    """Plays, tells, writes the report; whether all passed."""
    chosen = [fault for fault in FAULTS if not wanted or fault.alert in wanted]
    results = []
    async with played() as ground:
        for fault in chosen:
            result = await play(ground, fault)
            results.append(result)
            times = f"{result.get('detected_s')} s to detect, {result.get('recovered_s')} s to recover"
            colour = "green" if result["passed"] else "red"
            console.print(f"{fault.says:<30}{fault.alert:<26}[{colour}]{result.get('why') or times}[/{colour}]")
    passed = all(result["passed"] for result in results)
    report = {
        "command": "make gameday" + (f' ARGS="{" ".join(wanted)}"' if wanted else ""),
        "commit": await asyncio.to_thread(_commit),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "played": datetime.now(UTC).isoformat(),
        "hurry": HURRY,
        "passed": passed,
        "faults": results,
    }
    path = ROOT / "reports" / "gameday.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    console.print(
        f"{sum(bool(result['passed']) for result in results)} of {len(results)}; {path.relative_to(Path.cwd())}"
    )
    return passed


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607  # whichever git there is
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(sys.argv[1:])) else 1)
