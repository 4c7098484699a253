"""The way out of the heartbeat: nginx with the template of the deployment, to a service outside that stands here."""

from __future__ import annotations

import re
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from server.embedded.issuer import Issuer
from tests.support.relay import SERVICE, TEMPLATE, arguments, filled_in, outside, resolver, running_relay

SECRET = "ping/5d0c2f0e-heartbeat"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Has a certificate for localhost that no authority knows."""
    made = Issuer(tmp_path / "issuer")
    made.prepare()
    return made


def tls(issuer: Issuer) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issuer.certificate_path, issuer.certificate_key_path)
    return context


async def beat(relay: str) -> int:
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.post(relay, content="firing")).status_code


def judged(folder: Path, server: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    return subprocess.run([*arguments(folder, server), "-t"], capture_output=True, text=True, check=False)


def test_it_is_nginx_own_when_it_is_filled_in(tmp_path: Path) -> None:
    told = {"DEAD_MAN_SWITCH_URL": "https://outside.example/ping", "NGINX_LOCAL_RESOLVERS": "127.0.0.11 [fd00::a]"}
    right = judged(tmp_path / "right", filled_in(told))
    assert right.returncode == 0, right.stderr
    del told["NGINX_LOCAL_RESOLVERS"]
    wrong = judged(tmp_path / "wrong", filled_in(told))
    assert wrong.returncode != 0, "without resolvers it ends at once, and is not quiet for ever"
    assert "NGINX_LOCAL_RESOLVERS" in wrong.stderr


def test_the_image_fills_in_all_and_may_write_it() -> None:
    """The image's scripts give the container's resolvers only when they are asked for; its user is 101."""
    assert SERVICE["image"].startswith("nginxinc/nginx-unprivileged:")
    names = re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text())
    assert set(names) == {"DEAD_MAN_SWITCH_URL", "NGINX_LOCAL_RESOLVERS"}
    assert "${" not in filled_in(dict.fromkeys(names, "x"))
    assert "outside" in filled_in({"outside": "x", "status": "x"}), "a variable of nginx stays nginx's"
    assert SERVICE["environment"]["NGINX_ENTRYPOINT_LOCAL_RESOLVERS"]
    (options,) = (each.partition(":")[2] for each in SERVICE["tmpfs"] if each.startswith("/etc/nginx/conf.d"))
    assert {"uid=101", "gid=101"} <= set(options.split(",")), "else it is root's and the template is passed over"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_heartbeat_is_passed_on(tmp_path: Path, issuer: Issuer, scheme: str) -> None:
    """By a name that is looked up where the container looks, and with a certificate that is looked at."""
    async with outside(tls(issuer) if scheme == "https" else None) as (port, arrived), resolver() as (names, asked):
        told = {"DEAD_MAN_SWITCH_URL": f"{scheme}://localhost:{port}/{SECRET}", "NGINX_LOCAL_RESOLVERS": names}
        server = filled_in(told).replace(AUTHORITIES, str(issuer.certificate_path))
        async with running_relay(tmp_path, server) as relay:
            assert await beat(relay) == 200
            assert await beat(relay.replace("/tria", "/else")) == 404
    assert arrived == [f"POST /{SECRET} firing"]
    assert set(asked) == {"localhost"}
    said = (tmp_path / "said").read_text()
    assert "alertmanager: 200, outside: 200" in said
    assert SECRET not in said


async def test_whoever_cannot_prove_its_name_hears_nothing(tmp_path: Path, issuer: Issuer) -> None:
    """Nor does the log say where the heartbeat goes."""
    async with outside(tls(issuer)) as (port, arrived), resolver() as (names, _):
        told = {"DEAD_MAN_SWITCH_URL": f"https://localhost:{port}/{SECRET}", "NGINX_LOCAL_RESOLVERS": names}
        async with running_relay(tmp_path, filled_in(told)) as relay:
            assert await beat(relay) == 502
    assert not arrived
    said = (tmp_path / "said").read_text()
    assert "alertmanager: 502, outside: 502" in said
    assert SECRET not in said
