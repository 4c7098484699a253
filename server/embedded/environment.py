"""What the children of `tria up` are told by environment variables. What the user has set wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from server.embedded.child import stored_key, stored_password
from server.embedded.issuer import AUDIENCE, ISSUER, Issuer
from server.embedded.loopback import HOST
from server.embedded.ports import Ports
from server.embedded.process import import_path
from server.embedded.xero_sandbox.child import is_wanted, sandbox_variables


def child_environment(
    environ: Mapping[str, str], *, state: Path, ports: Ports, issuer: Issuer, stores: Mapping[str, str]
) -> dict[str, str]:
    """Variables for the server and the worker; `stores` holds TRIA_DATABASE_URL, TRIA_REDIS_URL and TRIA_CHROMA_URL."""
    defaults = {
        "TRIA_ENVIRONMENT": "development",
        "TRIA_GRPC_LISTEN": f"{HOST}:{ports.grpc}",
        "TRIA_INTERNAL_LISTEN": f"{HOST}:{ports.internal_grpc}",
        "TRIA_METRICS_LISTEN": f"{HOST}:{ports.metrics}",
        "TRIA_WORKER_METRICS_LISTEN": f"{HOST}:{ports.worker_metrics}",
        "TRIA_PROCESSES": "1",
        "TRIA_JWKS": str(issuer.jwks_path),
        "TRIA_JWT_ISSUER": ISSUER,
        "TRIA_JWT_AUDIENCE": AUDIENCE,
        "TRIA_ASSISTANT": "openai" if environ.get("OPENAI_API_KEY") else "offline",
        "TRIA_ACCOUNTING": "xero",
        "TRIA_AUDIT_FILE": str(state / "audit.log"),
        "TRIA_STATE_SECRET": stored_password(state / "state_secret"),
        "TRIA_MASTER_KEYS": f"local={stored_key(state / 'master_key')}",
        "TRIA_AUDIT_KEY": f"tria-local={stored_key(state / 'audit_key')}",
        "TRIA_AUDIT_CHECKPOINT_FILE": str(state / "checkpoints.jsonl"),
        "TRIA_LOG_LEVEL": "INFO",
        "TAX_RATE": "2023-01-01=0.08,2024-01-01=0.09",  # Singapore's GST
        "XERO_SALES_ACCOUNT_CODE": "200",
        "PYTHONPATH": import_path(),
    }
    set_by_user = {name: environ[name] for name in defaults if environ.get(name) and name != "PYTHONPATH"}
    # All of the sandbox or nothing of it: half of its settings with half of the user's would reach neither.
    books = sandbox_variables(state, ports) if is_wanted(environ) else {}
    return {**defaults, **stores, **set_by_user, **books}
