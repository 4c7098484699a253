"""A certificate that is renewed while the gateway runs, moved into place as Kubernetes moves it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest_asyncio
from cryptography import x509

from server.embedded.envoy import EmbeddedEnvoy
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from tests.edge.conftest import Edge
from tests.support.edge import edge_settings, start_upstream, until


def mount(directory: Path, issuer: Issuer) -> None:
    """As a kubelet does: the files through a link to a directory, and a new directory by moving that link."""
    content = directory / f"..{len(list(directory.glob('..[0-9]*')))}"
    content.mkdir(parents=True)
    for path in (issuer.certificate_path, issuer.certificate_key_path):
        (content / path.name).write_bytes(path.read_bytes())
        if not (directory / path.name).is_symlink():
            (directory / path.name).symlink_to(f"..data/{path.name}")
    (directory / "..new").symlink_to(content.name)
    (directory / "..new").replace(directory / "..data")


def new_issuer(directory: Path) -> Issuer:
    issuer = Issuer(directory)
    issuer.prepare()
    return issuer


@pytest_asyncio.fixture
async def mounted(tmp_path: Path) -> AsyncIterator[Edge]:
    """A gateway of its own whose certificate is in `tmp_path`/mounted."""
    directory = tmp_path / "mounted"
    mount(directory, new_issuer(tmp_path / "first"))
    upstream, server = await start_upstream(free_ports(1)[0])
    settings = replace(
        edge_settings(tmp_path, new_issuer(tmp_path / "first"), upstream.port),
        certificate=directory / "tls.crt",
        certificate_key=directory / "tls.key",
    )
    envoy = EmbeddedEnvoy(tmp_path / "envoy", settings, grace=1)
    await envoy.start()
    try:
        yield Edge(envoy, settings, upstream)
    finally:
        await envoy.stop()
        await server.stop(0)


def presented(edge: Edge) -> x509.Certificate:
    pem = ssl.get_server_certificate(("127.0.0.1", edge.settings.https_port))
    return x509.load_pem_x509_certificate(pem.encode())


async def test_a_renewed_certificate_is_used_without_a_restart(mounted: Edge, tmp_path: Path) -> None:
    first, second = new_issuer(tmp_path / "first"), new_issuer(tmp_path / "second")
    assert presented(mounted) == x509.load_pem_x509_certificate(first.certificate_path.read_bytes())
    mount(tmp_path / "mounted", second)
    renewed = x509.load_pem_x509_certificate(second.certificate_path.read_bytes())
    await until(lambda: presented(mounted) == renewed)
    assert await mounted.stat("server.days_until_first_cert_expiring") > 0, "an alert reads it"


async def test_a_pair_that_does_not_fit_changes_nothing(mounted: Edge, tmp_path: Path) -> None:
    before = presented(mounted)
    second = new_issuer(tmp_path / "second")
    second.certificate_path.write_bytes(new_issuer(tmp_path / "third").certificate_path.read_bytes())
    mount(tmp_path / "mounted", second)
    await until(lambda: mounted.stat("sds.certificate.key_rotation_failed"))
    assert presented(mounted) == before
