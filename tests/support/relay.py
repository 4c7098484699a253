"""The heartbeat's relay as its container has it: the template filled in as the image does it, and Debian's nginx."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from aiohttp import web

from server.embedded.loopback import HOST, free_ports, listens
from server.embedded.monitoring_tool import program
from tests.support.monitored import MONITORING
from tests.support.stores import eventually

SERVICE: dict[str, Any] = yaml.safe_load((MONITORING / "compose.yaml").read_text())["services"]["dead-man-switch"]
TEMPLATE = MONITORING / "dead-man-switch.conf.template"

_IMAGES_CONFIG = """daemon off;
pid {folder}/nginx.pid;
events {{}}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/conf.d/*.conf;
}}
"""


def filled_in(environ: Mapping[str, str]) -> str:
    """The template after the image's start: only variables that exist and that the service's filter lets through."""
    wanted = re.compile(SERVICE["environment"]["NGINX_ENVSUBST_FILTER"].replace("$$", "$"))  # Compose's way to write it
    known = {name: value for name, value in environ.items() if wanted.search(name)}
    return re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], found[0]), TEMPLATE.read_text())


def arguments(folder: Path, server: str) -> list[str]:
    """nginx on this one file of conf.d, with everything else that it writes in `folder`."""
    (folder / "conf.d").mkdir(exist_ok=True)
    (folder / "conf.d" / "default.conf").write_text(server)
    (folder / "nginx.conf").write_text(_IMAGES_CONFIG.format(folder=folder))
    return [program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


@asynccontextmanager
async def running_relay(folder: Path, server: str) -> AsyncIterator[str]:
    """Its address for Alertmanager; what it says goes to `folder`/said."""
    (port,) = free_ports(1)
    command = arguments(folder, server.replace("listen 8080;", f"listen {HOST}:{port};"))
    said = folder / "said"
    with said.open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)

    async def up() -> bool:
        assert process.returncode is None, said.read_text()
        return await listens(port)

    try:
        await eventually(up)
        yield f"http://{HOST}:{port}/tria"
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)


class _Answers(asyncio.DatagramProtocol):
    """Says of every name that it is this machine (RFC 1035), and remembers the names."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        question, labels, place = data[12:], [], 0
        while length := question[place]:
            labels.append(question[place + 1 : place + 1 + length].decode())
            place += 1 + length
        self.asked.append(".".join(labels))
        counts = b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
        self._transport.sendto(data[:2] + counts + question[: place + 5] + answer, addr)


@asynccontextmanager
async def resolver() -> AsyncIterator[tuple[str, list[str]]]:
    """A resolver's address as nginx takes it, and the names that it was asked for."""
    made = await asyncio.get_running_loop().create_datagram_endpoint(_Answers, local_addr=(HOST, 0))
    transport, protocol = made
    try:
        yield "{}:{}".format(*transport.get_extra_info("sockname")), protocol.asked
    finally:
        transport.close()


@asynccontextmanager
async def outside(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """The service that waits for heartbeats: its port, and what arrived, each as method, path and body."""
    arrived: list[str] = []

    async def arrive(request: web.Request) -> web.Response:
        arrived.append(f"{request.method} {request.path} {await request.text()}")
        return web.Response()

    application = web.Application()
    application.add_routes([web.route("*", "/{path:.*}", arrive)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    (port,) = free_ports(1)
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=tls).start()
        yield port, arrived
    finally:
        await runner.cleanup()
