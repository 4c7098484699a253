"""What the TLS listener negotiates."""

from __future__ import annotations

import socket
import ssl
import warnings

import pytest

from tests.edge.conftest import Edge


def _context(edge: Edge) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(edge.settings.certificate))


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_application_protocols(edge: Edge, protocol: str) -> None:
    context = _context(edge)
    context.set_alpn_protocols([protocol])
    with (
        socket.create_connection(("127.0.0.1", edge.settings.https_port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.selected_alpn_protocol() == protocol
        assert wrapped.version() in ("TLSv1.2", "TLSv1.3")


def test_tls_1_1_is_refused(edge: Edge) -> None:
    context = _context(edge)
    context.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would refuse to try
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is deprecated is the point
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", edge.settings.https_port), timeout=5) as raw,
        pytest.raises(ssl.SSLError, match=r"alert protocol version|unsupported protocol"),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


def test_plain_text_on_the_tls_port_is_refused(edge: Edge) -> None:
    with socket.create_connection(("127.0.0.1", edge.settings.https_port), timeout=5) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not raw.recv(1024).startswith(b"HTTP/")
