"""What a person can do with a system that has just started: addresses, a token, lines that run as they stand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from server.embedded.loopback import HOST
from server.embedded.stack import Running

_QUESTION = "When do you deliver, and what does it cost on Sentosa?"


def instructions(running: Running) -> str:
    """The text that `tria up` prints once everything serves."""
    url = f"http://{HOST}:{running.ports.http}"
    state = shlex.quote(str(running.state_dir))
    text = f"""
TRIA serves.

  page and JSON API   {url}/
  with TLS, HTTP/2    https://localhost:{running.ports.https}/   (certificate: {state}/issuer/tls.crt)
  gRPC, gRPC-Web      {HOST}:{running.ports.http}
  internal gRPC       {HOST}:{running.ports.internal_grpc}   (with reflection, not through the gateway)
  metrics             http://{HOST}:{running.ports.metrics}/metrics   gateway: http://{HOST}:{running.ports.envoy_metrics}/stats/prometheus
{_books(running)}  data, logs, pids    {state}

Is it well?

  curl {url}/health
"""
    if running.token_file is None:
        return text + f"\nA token: {_program('tria')} token --role STAFF --tenant TENANT --state-dir {state}\n"
    return text + _with_token(running, url, shlex.quote(str(running.token_file)))


def _books(running: Running) -> str:
    if running.xero_sandbox is None:
        return ""
    return f"  invoices            {running.xero_sandbox}/   (a local Xero sandbox; nothing reaches Xero)\n"


def _with_token(running: Running, url: str, token: str) -> str:
    """Each line runs by itself: the token is read from its file, which is renewed every hour."""
    bearer = f'-H "authorization: Bearer $(cat {token})"'
    ask = f"""-d '{{"message": "{_QUESTION}"}}'"""
    send = f"""-d '{{"conversation": "{running.conversation}", "text": "{_QUESTION}"}}'"""
    buf = f"{_program('buf')} curl --schema {shlex.quote(str(running.descriptor))} --http2-prior-knowledge {bearer}"
    method = f"{url}/tria.chat.v1.ChatService/SendMessage"
    return f"""
A first question, whole and streamed, as a customer of the demo:

  curl {bearer} {ask} {url}/api/chatbot
  curl -N {bearer} {ask} {url}/api/v1/chat/stream

The same over gRPC and gRPC-Web, and from Python:

  {buf} --protocol grpc {send} {method}
  {buf} --protocol grpcweb {send} {method}
  {_program("python")} -m tria_client --target {HOST}:{running.ports.http} --token-file {token} "{_QUESTION}"

Tokens for other roles: {_program("tria")} token --help

Ctrl-C stops everything.
"""


def _program(name: str) -> str:
    """How to call a program of this environment from the current folder."""
    path = Path(sys.executable).parent / name
    here = Path.cwd()
    return shlex.quote(f"./{path.relative_to(here)}" if path.is_relative_to(here) else str(path))
