"""`tria cache warm` as a process of its own, over the stores of a server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from server.embedded import demo
from server.embedded.issuer import Issuer
from tests.support.app import configuration


async def test_a_file_of_questions_is_warmed_once(
    tmp_path: Path, filled_dsn: str, redis_url: str, chroma_url: str
) -> None:
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    urls = {"TRIA_DATABASE_URL": filled_dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": chroma_url}
    environ = {**os.environ, **configuration(tmp_path, issuer, urls)}
    questions = tmp_path / "questions.txt"
    questions.write_text("# often asked\nWhen do you deliver to Sentosa?\n\nWhere is my order?\n", encoding="utf-8")
    found = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", "cache", "warm", str(questions), "--tenant", demo.TENANT, "--json",
            env=environ, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 1, "one answer is not for everybody"
        found.append(json.loads(output))
    assert found == [{"warmed": 1, "present": 0, "vetoed": 1}, {"warmed": 0, "present": 1, "vetoed": 1}]
