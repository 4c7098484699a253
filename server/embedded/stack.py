"""The whole system on one machine: real stores, server, worker and gateway as children of one process.

Start order follows need: stores, schema, the Xero sandbox, server and worker, gateway, demo data. At the end the
gateway and the server drain together: the one takes nobody new, the other tells its long streams to reconnect, without
which the first would wait for them in vain. Then the worker, the sandbox, and the stores last.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from server.embedded.child import Child, StartFailed
from server.embedded.chroma import EmbeddedChroma
from server.embedded.demo_session import Demo, DemoSession, copy_pages
from server.embedded.environment import child_environment
from server.embedded.envoy import EdgeSettings, EmbeddedEnvoy
from server.embedded.installed import installed_file
from server.embedded.issuer import Issuer
from server.embedded.loopback import HOST, ask
from server.embedded.ports import Ports, choose_ports
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.process import PythonProcess
from server.embedded.state import prepare_state_dir
from server.embedded.supervisor import Service, Supervisor
from server.embedded.valkey import EmbeddedValkey
from server.embedded.xero_sandbox.child import is_wanted, sandbox_process
from server.state_dir import ENVIRONMENT

_SERVER_READY = 60.0  # seconds to listen; imports and the embedding model take most of it
_OPEN_FILES = 65_536
_SERVING = 60.0  # seconds from listening to SERVING through the gateway
_DRAIN = 50.0  # seconds a Python child may take after SIGTERM: its own drain (TRIA_DRAIN, 20 s) and what follows it
_STOP_ORDER = (("envoy", "server"), ("worker",), ("xero_sandbox",), ("chroma", "valkey", "postgres"))
_STORES = _STOP_ORDER[-1]


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What was asked for. Ports: None means 8080 and 8443, or free ones when those are taken."""

    state_dir: Path
    http_port: int | None = None
    https_port: int | None = None
    demo: bool = True


@dataclass(frozen=True, slots=True)
class SeedTarget:
    """Where demo data goes: the stores, the server's internal listener (host:port), and who signs tokens."""

    database_url: str
    redis_url: str
    chroma_url: str
    internal_grpc: str
    issuer: Issuer


Migrate = Callable[[str], Awaitable[object]]  # takes a PostgreSQL DSN
Seed = Callable[[SeedTarget], Awaitable[Demo]]


class Progress(Protocol):
    """Tells a person how the start gets on."""

    def step(self, title: str) -> AbstractContextManager[None]: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Running:
    """What runs where, once everything serves."""

    ports: Ports
    state_dir: Path
    assistant: str
    descriptor: Path
    token_file: Path | None  # a customer's token, when there is demo data
    conversation: str  # that customer's, ready to be written into
    xero_sandbox: str | None  # its URL; None when invoices go elsewhere


class Stack:
    """One embedded system in `options.state_dir`. `migrate` and `seed` are called when their turn comes."""

    def __init__(
        self, options: UpOptions, environ: Mapping[str, str], progress: Progress, *, migrate: Migrate, seed: Seed
    ) -> None:
        self._options = options
        self._environ = environ
        self._progress = progress
        self._migrate = migrate
        self._seed = seed
        self._state = prepare_state_dir(options.state_dir)
        self._supervisor = Supervisor(self._state / "pids.json", progress.note)
        self._lock = Child("tria up", self._state, parent_death=signal.SIGTERM, stop_signals=())
        self._owns_state = False
        self._session_keeper: asyncio.Task[None] | None = None

    def pids(self) -> dict[str, int]:
        """Pids of this process and of its living children, by name."""
        return self._supervisor.pids()

    async def start(self) -> Running:
        """Start everything; returns when `/health` through the gateway says SERVING and demo data is there.

        Raises StartFailed, or OwnedElsewhere when another `tria up` runs on the state directory. After a failure or a
        cancellation `stop()` must still be called.
        """
        await self._lock.own()
        self._owns_state = True
        _raise_open_files()
        ports = choose_ports(self._state / "ports.json", http=self._options.http_port, https=self._options.https_port)
        issuer = Issuer(self._state / "issuer")
        issuer.prepare()
        with self._progress.step("stores"):
            stores = await self._start_stores()
        variables = child_environment(self._environ, state=self._state, ports=ports, issuer=issuer, stores=stores)
        _keep(self._state / ENVIRONMENT, variables)
        os.environ.update(variables)  # Child.spawn passes our own environment on; nothing secret is on a command line
        with self._progress.step("database schema"):
            await self._migrate(stores["TRIA_DATABASE_URL"])
        books = None
        if is_wanted(self._environ):
            with self._progress.step("Xero sandbox"):
                await self._supervisor.start(sandbox_process(self._state, ports))
            books = f"http://{HOST}:{ports.xero_sandbox}"
        with self._progress.step("server and worker"):
            await self._start_server(_port(variables["TRIA_GRPC_LISTEN"]))
        pages = self._state / "www"
        copy_pages(installed_file("clients/web/page"), pages)
        with self._progress.step("gateway"):
            edge = self._edge(ports, issuer, variables)
            await self._supervisor.start(EmbeddedEnvoy(self._state / "envoy", edge, grace=_DRAIN))
            await _until_serving(ports.http)
        token_file, conversation = None, ""
        if self._options.demo:
            with self._progress.step("demo data"):
                token_file, conversation = await self._start_demo(pages, issuer, variables, ports.http)
        descriptor = installed_file("proto/gen/tria.binpb")
        return Running(ports, self._state, variables["TRIA_ASSISTANT"], descriptor, token_file, conversation, books)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain and stop in order; once `hurry` is set, without waiting for what still runs."""
        if not self._owns_state:
            return  # refused: pids.json is another's
        if self._session_keeper is not None:
            self._session_keeper.cancel()
            await asyncio.wait({self._session_keeper})
        for names in _STOP_ORDER:
            if set(names) & set(self.pids()):
                with self._progress.step(f"stopping {', '.join(names)}"):
                    await self._supervisor.stop(names, hurry, may_be_killed=names != _STORES)
            else:
                await self._supervisor.stop(names, hurry, may_be_killed=names != _STORES)
        for name in ("pids.json", ENVIRONMENT):
            (self._state / name).unlink(missing_ok=True)
        await self._lock.stop()

    async def _start_stores(self) -> dict[str, str]:
        """URLs by variable; a store whose URL is configured is not started."""
        embedded: dict[str, Service] = {
            "TRIA_DATABASE_URL": EmbeddedPostgres(self._state / "postgres"),
            "TRIA_REDIS_URL": EmbeddedValkey(self._state / "valkey"),
            "TRIA_CHROMA_URL": EmbeddedChroma(self._state / "chroma"),
        }
        urls = {name: self._environ[name] for name in embedded if self._environ.get(name)}
        missing = [name for name in embedded if name not in urls]
        try:
            async with asyncio.TaskGroup() as group:
                starting = {name: group.create_task(self._supervisor.start(embedded[name])) for name in missing}
        except* StartFailed as failures:
            raise failures.exceptions[0] from None  # the others were cancelled because of it
        return urls | {name: str(task.result()) for name, task in starting.items()}

    async def _start_server(self, grpc_port: int) -> None:
        server = PythonProcess(
            "server", self._state / "server", ["serve"], port=grpc_port, drain=_DRAIN, ready_timeout=_SERVER_READY
        )
        worker = PythonProcess(
            "worker", self._state / "worker", ["worker"], port=None, drain=_DRAIN, ready_timeout=_SERVER_READY
        )
        await self._supervisor.start(server)
        await self._supervisor.start(worker)

    def _edge(self, ports: Ports, issuer: Issuer, variables: Mapping[str, str]) -> EdgeSettings:
        jwks = variables["TRIA_JWKS"]
        if "://" in jwks:
            raise StartFailed("TRIA_JWKS must be a file here: the embedded gateway reads its keys from disk.")
        return EdgeSettings(
            http_port=ports.http,
            https_port=ports.https,
            admin_port=ports.envoy_admin,
            metrics_port=ports.envoy_metrics,
            upstream=variables["TRIA_GRPC_LISTEN"],
            descriptor=installed_file("proto/gen/tria.binpb"),
            jwks=Path(jwks),
            issuer=variables["TRIA_JWT_ISSUER"],
            audience=variables["TRIA_JWT_AUDIENCE"],
            certificate=issuer.certificate_path,
            certificate_key=issuer.certificate_key_path,
            secret=self._state / "envoy" / "certificate.json",
            pages=self._state / "www",
            access_log=self._state / "envoy" / "access.log",
            split=self._state / "envoy" / "split" / "split.yaml",
            origins=("http://localhost:5173", "http://127.0.0.1:5173"),  # Vite's development server
        )

    async def _start_demo(
        self, pages: Path, issuer: Issuer, variables: Mapping[str, str], http_port: int
    ) -> tuple[Path | None, str]:
        """Demo data, and a customer who is signed in: the file with its token, and a conversation of its own."""
        demo = await self._seed(
            SeedTarget(
                database_url=variables["TRIA_DATABASE_URL"],
                redis_url=variables["TRIA_REDIS_URL"],
                chroma_url=variables["TRIA_CHROMA_URL"],
                internal_grpc=variables["TRIA_INTERNAL_LISTEN"],
                issuer=issuer,
            )
        )
        if Path(variables["TRIA_JWKS"]) != issuer.jwks_path:
            return None, ""  # the system trusts another issuer: our tokens would be refused
        token_file = self._state / "token"
        session = DemoSession(pages, token_file, issuer, demo)
        session.write()
        self._session_keeper = asyncio.create_task(session.keep(), name="demo session")
        made = await ask(http_port, "/v1/conversations", method="POST", body="{}", token=session.token())
        if made is None or made.status != HTTPStatus.OK:
            raise StartFailed(f"no conversation could be made: {made.text if made else 'no answer'}")
        return token_file, json.loads(made.text)["name"]


def _keep(path: Path, variables: Mapping[str, str]) -> None:
    """For `tria doctor`, `tria knowledge` …: they read passwords there, so nobody else may."""
    path.unlink(missing_ok=True)
    kept = {name: value for name, value in variables.items() if name != "PYTHONPATH"}
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(kept, file)


def _raise_open_files() -> None:
    """Children inherit it: 1,024, a common default, is full with 1,000 streams, which take a socket each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_serving(port: int) -> None:
    deadline = asyncio.get_running_loop().time() + _SERVING
    answer = None
    while asyncio.get_running_loop().time() < deadline:
        answer = await ask(port, "/health")
        if answer is not None and answer.status == 200 and json.loads(answer.text).get("status") == "SERVING":
            return
        await asyncio.sleep(0.05)
    said = answer.text if answer is not None else "nothing"
    raise StartFailed(f"http://{HOST}:{port}/health was not SERVING after {_SERVING:.0f} s; it last said: {said}")


def _port(listen: str) -> int:
    return int(listen.rpartition(":")[2])
