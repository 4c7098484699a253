"""`python -m tria_client QUESTION`: asks the desk and prints the answer as it comes, with its sources.

Exit codes: 0 answered, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tria_client.client import TriaClient
from tria_client.errors import TriaError


async def ask(target: str, token: str, question: str, *, tls: bool) -> int:
    """Streams one answer to standard output."""
    sources = []
    async with TriaClient(target, token=token, tls=tls) as client:
        async for event in client.stream_chat(question):
            if event.HasField("text_delta"):
                sys.stdout.write(event.text_delta.text)
                sys.stdout.flush()
            elif event.HasField("citation"):
                sources.append(event.citation)
    sys.stdout.write("\n")
    for source in sources:
        sys.stdout.write(f"[{source.index}] {source.title}: {source.quote}\n")
    return 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tria_client", description=__doc__)
    parser.add_argument("--target", required=True, help="host:port of the gateway or of the server")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the caller's token")
    parser.add_argument("--tls", action="store_true", help="the target speaks TLS")
    parser.add_argument("question")
    arguments = parser.parse_args()
    try:
        token = arguments.token_file.read_text().strip()
        code = asyncio.run(ask(arguments.target, token, arguments.question, tls=arguments.tls))
    except (OSError, TriaError) as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
