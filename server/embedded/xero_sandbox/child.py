"""The sandbox as a child of `tria up`, and what its client must know to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.embedded.child import stored_password
from server.embedded.loopback import HOST
from server.embedded.ports import Ports
from server.embedded.process import PythonProcess

_READY = 60.0  # seconds to listen
_DRAIN = 10.0


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether invoices go to a sandbox: the user has named neither an organisation of their own nor other books."""
    return not environ.get("XERO_CLIENT_ID") and environ.get("TRIA_ACCOUNTING", "xero") == "xero"


def sandbox_variables(state: Path, ports: Ports) -> dict[str, str]:
    """What server, worker and sandbox are told; the secrets are made once and kept in `state`."""
    url = f"http://{HOST}:{ports.xero_sandbox}"
    return {
        "TRIA_ACCOUNTING": "xero",
        "XERO_API_URL": url,  # as https://api.xero.com: the API's path and the connections are below it
        "XERO_IDENTITY_URL": url,
        "XERO_LOGIN_URL": f"{url}/identity",
        "XERO_CLIENT_ID": "tria-up",
        "XERO_CLIENT_SECRET": stored_password(state / "xero_client_secret"),
        "XERO_GRANT": "client_credentials",
        "XERO_WEBHOOK_KEY": stored_password(state / "xero_webhook_key"),
    }


def sandbox_process(state: Path, ports: Ports) -> PythonProcess:
    """The child; its secrets come by the environment that `sandbox_variables` made."""
    return PythonProcess(
        "xero_sandbox",
        state / "xero_sandbox",
        [
            "xero-sandbox",
            *("--listen", f"{HOST}:{ports.xero_sandbox}"),
            *("--state", str(state / "xero_sandbox" / "books.db")),
            *("--webhook-url", f"http://{HOST}:{ports.http}/webhooks/xero"),
        ],
        port=ports.xero_sandbox,
        drain=_DRAIN,
        ready_timeout=_READY,
    )
