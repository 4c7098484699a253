"""What a person can do with a system that has just started: addresses, a token, lines that run as they stand."""

from __future__ import annotations

import shlex
from textwrap import dedent

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
  data, logs, pids    {state}

Is it well?

  curl {url}/health
"""
    if running.token is None:
        return text + "\nA token: tria token --role STAFF --tenant TENANT --state-dir " + state + "\n"
    return text + _with_token(running, url, running.token)


def _with_token(running: Running, url: str, token: str) -> str:
    schema = shlex.quote(str(running.descriptor))
    ask = f'{{"message": "{_QUESTION}"}}'
    return dedent("""
        A customer's token for two hours (more: tria token --help), and the first questions:

        TOKEN={token}

        curl -H "authorization: Bearer $TOKEN" -d '{ask}' {url}/api/chatbot

        curl -N -H "authorization: Bearer $TOKEN" -d '{ask}' {url}/api/v1/chat/stream

        CONVERSATION=$(curl -s -H "authorization: Bearer $TOKEN" -d '{{}}' {url}/v1/conversations \\
          | sed 's/.*"name":"\\([^"]*\\)".*/\\1/')

        for protocol in grpc grpcweb; do
          buf curl --schema {schema} --protocol $protocol --http2-prior-knowledge -H "authorization: Bearer $TOKEN" \\
            -d '{{"conversation": "'$CONVERSATION'", "text": "{question}"}}' {url}/tria.chat.v1.ChatService/SendMessage
        done

        TOKEN=$TOKEN python - <<'END'
        import os, grpc
        from tria.chat.v1 import chat_service_pb2, chat_service_pb2_grpc
        chat = chat_service_pb2_grpc.ChatServiceStub(grpc.insecure_channel("{target}"))
        question = chat_service_pb2.StreamChatRequest(message="{question}")
        for event in chat.StreamChat(question, metadata=[("authorization", "Bearer " + os.environ["TOKEN"])]):
            print(event.text_delta.text, end="", flush=True)
        END

        Ctrl-C stops everything.
        """).format(
        token=token,
        ask=ask,
        url=url,
        schema=schema,
        question=_QUESTION,
        target=f"{HOST}:{running.ports.http}",
    )
