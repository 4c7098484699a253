"""Prometheus, Alertmanager and the exporters beside a running `tria up`, as children of one process.

What is scraped, the rules and the routes are the deployment's own files. Notifications come back to this process
instead of going to PagerDuty, Slack and mail, so a person sees who would have been told what.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from aiohttp import web

from server.embedded.child import Child, StartFailed, private_directory
from server.embedded.installed import installed_file
from server.embedded.loopback import HOST, is_free
from server.embedded.monitoring_config import Config, Pace, alertmanager_config, hurried, prometheus_config
from server.embedded.monitoring_tool import Tool
from server.embedded.supervisor import Supervisor

EXPORTERS = ("postgres", "redis", "blackbox", "node")
_USUAL = {"prometheus": 9090, "alertmanager": 9093}
_KEPT = "3d"  # the longest window of a rule


@dataclass(frozen=True, slots=True)
class Watched:
    """The system that is watched: its ports by name (`ports.json`) and the variables of its children."""

    state: Path
    ports: Mapping[str, int]
    variables: Mapping[str, str]

    @classmethod
    def at(cls, state: Path) -> Watched:
        """The one that `tria up` runs in this state directory. Raises StartFailed."""
        try:
            ports = json.loads((state / "ports.json").read_text())
            variables = json.loads((state / "environment.json").read_text())
        except FileNotFoundError as error:
            raise StartFailed(f"no system runs in {state}: `make run` first, or give its --state-dir.") from error
        return cls(state, ports, variables)


class Monitoring:
    """Starts and stops all of it. `told(receiver, text)` is called for each notification."""

    def __init__(self, watched: Watched, pace: Pace, told: Callable[[str, Mapping[str, object]], None]) -> None:
        self._watched = watched
        self._pace = pace
        self._told = told
        self._state = watched.state / "monitoring"
        self._supervisor: Supervisor | None = None
        self._inbox: web.AppRunner | None = None
        self._lock = Child("tria monitor", self._state, parent_death=signal.SIGTERM, stop_signals=())
        self.ports: dict[str, int] = {}

    async def start(self, report: Callable[[str], None]) -> None:
        """Returns when all answer. Raises StartFailed, or OwnedElsewhere when another watches already; `stop()` must be
        called then too."""
        private_directory(self._state)
        await self._lock.own()
        self._supervisor = Supervisor(self._state / "pids.json", report)
        self.ports = _choose(self._state / "ports.json", (*_USUAL, *EXPORTERS, "inbox"))
        self._inbox = await _inbox(self.ports["inbox"], self._told)
        self._write_configuration()
        os.environ.update(_exporters_environment(self._watched.variables))  # no password on a command line
        async with asyncio.TaskGroup() as group:
            for tool in self._tools():
                group.create_task(self._supervisor.start(tool))

    async def stop(self) -> None:
        """Ends the children in the reverse of need."""
        if self._supervisor is not None:
            exporters = tuple(f"prometheus-{name}-exporter" for name in EXPORTERS)
            for names in (("prometheus",), ("prometheus-alertmanager", *exporters)):
                await self._supervisor.stop(names, asyncio.Event(), may_be_killed=True)
            for name in ("ports.json", "pids.json"):
                (self._state / name).unlink(missing_ok=True)
        if self._inbox is not None:
            await self._inbox.cleanup()
        await self._lock.stop()

    def _write_configuration(self) -> None:
        source, rules = installed_file("monitoring/prometheus"), self._state / "rules"
        private_directory(rules)
        for path in sorted((source / "rules").glob("*.yml")):
            _write(rules / path.name, hurried(yaml.safe_load(path.read_text()), self._pace))
        at = {name: f"{HOST}:{port}" for name, port in self.ports.items()}
        parts = self._watched.ports
        at |= {
            "tria-server": f"{HOST}:{parts['metrics']}",
            "tria-worker": f"{HOST}:{parts['worker_metrics']}",
            "envoy": f"{HOST}:{parts['envoy_metrics']}",
        }
        probes = {
            "chroma": self._watched.variables["TRIA_CHROMA_URL"] + "/api/v2/heartbeat",
            "gateway": f"http://{HOST}:{parts['http']}/health",
        }
        config = prometheus_config(source / "prometheus.yml", at, probes, rules, self._pace)
        _write(self._state / "prometheus.yml", config)
        routes = installed_file("monitoring/alertmanager/alertmanager.yml")
        _write(self._state / "alertmanager.yml", alertmanager_config(routes, self.ports["inbox"], self._pace))

    def _tools(self) -> list[Tool]:
        ports, state = self.ports, self._state
        listen = {name: f"--web.listen-address={HOST}:{port}" for name, port in ports.items()}
        blackbox = installed_file("monitoring/prometheus/blackbox.yml")
        # fmt: off
        arguments = {
            "prometheus": [f"--config.file={state}/prometheus.yml", f"--storage.tsdb.path={state}/prometheus/data",
                           f"--storage.tsdb.retention.time={_KEPT}"],
            "prometheus-alertmanager": [f"--config.file={state}/alertmanager.yml",
                                        f"--storage.path={state}/prometheus-alertmanager/data",
                                        "--cluster.listen-address="],  # one needs no peers
            # Its bgwriter collector reads columns that PostgreSQL 17 took away.
            "prometheus-postgres-exporter": ["--no-collector.bgwriter"],
            "prometheus-redis-exporter": ["--connection-timeout=1s"],  # 15 s by default: longer than a scrape lasts
            "prometheus-blackbox-exporter": [f"--config.file={blackbox}"],
            "prometheus-node-exporter": [
                "--collector.disable-defaults", "--collector.cpu", "--collector.meminfo", "--collector.filesystem",
                # Of the kinds left out by default overlay is kept: a container has no other.
                "--collector.filesystem.fs-types-exclude=^(proc|sysfs|cgroup2?|devpts|devtmpfs|mqueue|tmpfs|nsfs)$",
            ],
        }
        # fmt: on
        ready = {"prometheus": "/-/ready", "prometheus-alertmanager": "/-/ready"}
        tools = []
        for name, options in arguments.items():
            key = name.removeprefix("prometheus-").removesuffix("-exporter")
            path = ready.get(name, "/")
            tools.append(Tool(name, state, [*options, listen[key]], port=ports[key], path=path))
        return tools


def _choose(file: Path, names: tuple[str, ...]) -> dict[str, int]:
    """A port for each name: the usual one when it is free, else any. Written down for runbooks and game days."""
    chosen = {}
    with ExitStack() as held:  # all held until all are chosen, or two could get the same
        for name in names:
            if name in _USUAL and is_free(_USUAL[name]):
                chosen[name] = _USUAL[name]
                continue
            probe = held.enter_context(socket.socket())
            probe.bind((HOST, 0))
            chosen[name] = int(probe.getsockname()[1])
    file.write_text(json.dumps(chosen) + "\n")
    return chosen


async def _inbox(port: int, told: Callable[[str, Mapping[str, object]], None]) -> web.AppRunner:
    """Where Alertmanager's notifications arrive."""

    async def arrive(request: web.Request) -> web.Response:
        told(request.match_info["receiver"], await request.json())
        return web.Response()

    application = web.Application()
    application.add_routes([web.post("/{receiver}", arrive)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    return runner


def _exporters_environment(variables: Mapping[str, str]) -> dict[str, str]:
    database, redis = variables["TRIA_DATABASE_URL"], urlsplit(variables["TRIA_REDIS_URL"])
    address = f"unix://{unquote(redis.path)}" if redis.scheme == "unix" else f"redis://{redis.hostname}:{redis.port}"
    local = "" if "sslmode=" in database else ("&" if "?" in database else "?") + "sslmode=disable"
    return {
        "DATA_SOURCE_NAME": database + local,
        "REDIS_ADDR": address,
        "REDIS_PASSWORD": unquote(redis.password or ""),
    }


def _write(path: Path, config: Config) -> None:
    path.write_text(json.dumps(config, indent=1) + "\n")
