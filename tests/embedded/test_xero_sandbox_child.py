"""When `tria up` starts a sandbox, and what its other children are told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.embedded.environment import child_environment
from server.embedded.issuer import Issuer
from server.embedded.loopback import free_ports
from server.embedded.ports import choose_ports
from server.embedded.xero_sandbox.child import is_wanted, sandbox_process


def told(folder: Path, **environ: str) -> dict[str, str]:
    http, https = free_ports(2)
    ports = choose_ports(folder / "ports.json", http=http, https=https)
    return child_environment(environ, state=folder, ports=ports, issuer=Issuer(folder), stores={})


def test_all_of_the_sandbox_is_told(tmp_path: Path) -> None:
    first = told(tmp_path)
    assert first["TRIA_ACCOUNTING"] == "xero"
    assert first["XERO_API_URL"] == first["XERO_IDENTITY_URL"]
    assert first["XERO_GRANT"] == "client_credentials"
    assert len(first["XERO_CLIENT_SECRET"]) >= 32
    assert first["XERO_CLIENT_SECRET"] != first["XERO_WEBHOOK_KEY"]
    kept = {name: value for name, value in told(tmp_path).items() if name in {"XERO_CLIENT_SECRET", "XERO_WEBHOOK_KEY"}}
    assert kept.items() <= first.items()
    for name in ("xero_client_secret", "xero_webhook_key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("environ", [{"XERO_CLIENT_ID": "mine"}, {"TRIA_ACCOUNTING": "none"}])
def test_nothing_of_it_beside_an_organisation_of_the_users_own(tmp_path: Path, environ: dict[str, str]) -> None:
    assert not is_wanted(environ)
    names = told(tmp_path, **environ)
    assert not {"XERO_API_URL", "XERO_CLIENT_ID", "XERO_CLIENT_SECRET", "XERO_WEBHOOK_KEY"} & names.keys()


def test_half_of_the_users_settings_does_not_mix_in(tmp_path: Path) -> None:
    mixed = told(tmp_path, XERO_CLIENT_SECRET="theirs", XERO_API_URL="https://elsewhere.example")
    assert "theirs" not in mixed.values()
    assert mixed["XERO_API_URL"].startswith("http://127.0.0.1:")


def test_secrets_are_on_no_command_line(tmp_path: Path) -> None:
    names = told(tmp_path)
    http, https = free_ports(2)
    process = sandbox_process(tmp_path, choose_ports(tmp_path / "ports.json", http=http, https=https))
    line = " ".join(process._arguments)
    assert str(tmp_path) in line
    assert names["XERO_CLIENT_SECRET"] not in line
    assert names["XERO_WEBHOOK_KEY"] not in line
