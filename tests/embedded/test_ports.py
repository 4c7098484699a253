"""Ports are chosen once and kept; the state directory fits who starts the system."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from server.embedded.child import StartFailed
from server.embedded.loopback import free_ports
from server.embedded.ports import choose_ports
from server.embedded.state import prepare_state_dir
from server.state_dir import default_state_dir


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_no_outgoing_connection_can_take_a_chosen_port() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen = free_ports(50)
    assert len(set(chosen)) == 50
    assert max(chosen) < first


def test_asked_for_and_remembered(tmp_path: Path) -> None:
    http, https = free_ports(2)
    first = choose_ports(tmp_path / "ports.json", http=http, https=https)
    assert (first.http, first.https) == (http, https)
    assert len(set(asdict(first).values())) == len(asdict(first))
    assert choose_ports(tmp_path / "ports.json", http=None, https=None) == first


def test_asked_for_and_taken(tmp_path: Path, taken: int) -> None:
    with pytest.raises(StartFailed, match=f"{taken}.*--port-http"):
        choose_ports(tmp_path / "ports.json", http=taken, https=None)


def test_remembered_and_taken_is_replaced(tmp_path: Path) -> None:
    first = choose_ports(tmp_path / "ports.json", http=free_ports(1)[0], https=None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first.http))
        listener.listen()
        second = choose_ports(tmp_path / "ports.json", http=None, https=None)
    assert second.http != first.http
    assert second.grpc == first.grpc


def test_state_of_a_user(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert default_state_dir({"HOME": str(home)}, root=False) == home / ".local/state/tria"
    assert default_state_dir({"HOME": str(home), "XDG_STATE_HOME": "/x"}, root=False) == Path("/x/tria")


def test_state_of_root_is_where_postgres_can_go(tmp_path: Path) -> None:
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    assert default_state_dir({"HOME": str(home)}, root=True) == Path("/var/lib/tria")


def test_state_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match="cannot be used"):
        prepare_state_dir(tmp_path / "file" / "state")
