"""PostgreSQL's own programs: which of those at hand fits a server, and how they run with no secret on a command
line."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLMODE")
_LINES = 12  # of what a program said last, shown when it fails


class ToolMissing(Exception):
    """No program fits; the message says what was looked for and what was found."""


class ToolFailed(Exception):
    """A program ended with an error; the message is what it said last."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of one installation."""

    path: Path
    major: int
    version: str


@dataclass(frozen=True, slots=True)
class Target:
    """A database as libpq is told of it: the address without its password, and the password for the environment."""

    url: str
    password: str

    @classmethod
    def of(cls, dsn: str) -> Target:
        """Takes the password out of a DSN, wherever it stands there. Raises ToolFailed for that of a key file, which
        libpq takes from nowhere else."""
        parts = urlsplit(dsn)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        asked = parse_qsl(parts.query, keep_blank_values=True)
        given = dict(asked).get("password", "")
        if "sslpassword" in dict(asked):
            raise ToolFailed(
                "sslpassword in the database's address would be on a command line: use a key file without a password, "
                "which only its owner may read"
            )
        host = parts.netloc.rpartition("@")[2]
        query = urlencode(
            [pair for pair in asked if pair[0] != "password"], quote_via=quote
        )  # libpq knows no + for blanks
        netloc = f"{user}@{host}" if user else host
        # urlunsplit drops an empty authority, which libpq wants to see.
        rest = urlunsplit(("", "", parts.path, query, ""))
        return cls(f"{parts.scheme}://{netloc}{rest}", given or unquote(password))

    def environment(self) -> dict[str, str]:
        """What a program is started with; nothing else of this process's environment is passed on."""
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return kept | {"PGPASSWORD": self.password, "PGAPPNAME": "tria-backup", "LC_ALL": "C"}


def other_database(dsn: str, name: str) -> str:
    """The same server and user, another database."""
    parts = urlsplit(dsn)
    rest = urlunsplit(("", "", f"/{name}", parts.query, ""))
    return f"{parts.scheme}://{parts.netloc}{rest}"


async def fitting(program: str, server_major: int, homes: Sequence[Path]) -> Tool:
    """The program of the server's own major version, else of the oldest newer one: an older one does not know what it
    reads, and a newer one writes settings that an older server refuses. `homes` are installations beside those of the
    PATH and of Debian. Raises ToolMissing."""
    found = [tool for path in _candidates(program, homes) if (tool := await _known(path))]
    fits = sorted((tool for tool in found if tool.major >= server_major), key=lambda tool: tool.major)
    if not fits:
        seen = ", ".join(f"{tool.path} is {tool.version}" for tool in found) or "none was found"
        raise ToolMissing(f"{program} of PostgreSQL {server_major} or newer is needed: {seen}")
    return fits[0]


def _candidates(program: str, homes: Sequence[Path]) -> list[Path]:
    on_path = shutil.which(program)
    places = [Path(on_path)] if on_path else []
    places += sorted(_DEBIAN.glob(f"*/bin/{program}"))
    places += [home / "bin" / program for home in homes]
    return [place for place in places if place.exists()]


async def _known(path: Path) -> Tool | None:
    child = await asyncio.create_subprocess_exec(
        path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    said, _ = await child.communicate()
    version = _VERSION.search(said.decode(errors="replace"))
    return Tool(path, int(version[1]), version[1] + version[2]) if version and child.returncode == 0 else None


async def run(tool: Tool, arguments: Sequence[str | Path], target: Target, heard: Callable[[str], None]) -> None:
    """Runs it to its end; each line that it says goes to `heard`. Raises ToolFailed. It does not outlive this call."""
    child = await asyncio.create_subprocess_exec(
        tool.path, *arguments, env=target.environment(), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said: deque[str] = deque(maxlen=_LINES)
    try:
        assert child.stderr is not None  # noqa: S101  # asked for just above
        async for raw in child.stderr:
            line = raw.decode(errors="replace").rstrip()
            said.append(line)
            heard(line)
        code = await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if code:
        errors = [line for line in said if "error" in line.lower() or "fatal" in line.lower()]
        raise ToolFailed(f"{tool.path.name} ended with {code}: {' / '.join(errors or said)}")
