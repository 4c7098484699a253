"""What the embedded servers share: one owner per state directory, and a child that never outlives its owner.

Two kernel mechanisms carry it, because both also work when the owner is killed with -9, where no Python code runs:
PR_SET_PDEATHSIG (prctl(2)) has the kernel signal the child when its parent dies, and flock(2), which the child
inherits, stays held for as long as either lives, so a successor never opens a directory that is still being written.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import fcntl
import hashlib
import os
import secrets
import select
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_POLL = 0.02  # seconds between two looks at a server that is starting
_LIVE_OWNER_PATIENCE = 1.0  # seconds; a live owner will not let go, but one that is just ending may
_DEAD_OWNER_PATIENCE = 60.0  # seconds; its orphan is shutting down (PostgreSQL: checkpoint) and then lets go
_SUN_PATH = 108  # bytes of a unix socket's path, with its NUL (unix(7))
_LOG_LIMIT = 16 << 20  # bytes kept in a server's log before it is set aside at the next start


class StartFailed(RuntimeError):
    """An embedded server could not be started; the message says what to do about it."""


class OwnedElsewhere(StartFailed):
    """Another live process owns the state directory; `pid` is that process, or None when it left no trace."""

    def __init__(self, name: str, state: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(f"{name}: {state} is in use by {owner}. Stop it, or choose another state directory.")
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that a child runs as."""

    name: str
    uid: int
    gid: int


class Child:
    """One supervised server process and the state directory that it owns.

    `parent_death` is what the kernel sends the child when this process dies. `stop_signals` are tried in turn by
    `stop()`, each with its patience in seconds; SIGKILL is the last resort and need not be named.
    """

    def __init__(
        self,
        name: str,
        state: Path,
        *,
        parent_death: signal.Signals,
        stop_signals: Sequence[tuple[signal.Signals, float]],
    ) -> None:
        self.name = name
        self.state = state
        self._parent_death = parent_death
        self._stop_signals = tuple(stop_signals)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def pid(self) -> int | None:
        """The running child's pid, or None when it has not been started or has ended."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def own(self) -> None:
        """Take the state directory for this process (a no-op when it has it); raises OwnedElsewhere."""
        if self._lock is not None:
            return
        lock = os.open(self.state / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await self._wait_for(lock)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except BaseException:  # also when cancelled: an open descriptor would keep the directory locked
            os.close(lock)
            raise
        self._lock = lock

    async def _wait_for(self, lock: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not _try_lock(lock):
            owner = _recorded_pid(lock)
            patience = _LIVE_OWNER_PATIENCE if owner and _is_alive(owner) else _DEAD_OWNER_PATIENCE
            if loop.time() - began > patience:
                raise OwnedElsewhere(self.name, self.state, owner)
            await asyncio.sleep(0.05)

    def spawn(self, argv: Sequence[str | Path], *, log: Path | None = None, account: Account | None = None) -> None:
        """Start the child; `log` takes its stderr (None: discarded), stdout is discarded. Must run in the main thread.

        PR_SET_PDEATHSIG follows the *thread* that forks: from a worker thread the child would be shut down when that
        thread ends, so this refuses instead.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{self.name} must be started from the main thread")
        if self._lock is None:
            raise RuntimeError(f"{self.name}: own() comes before spawn()")
        output = _open_log(log)
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # Chroma: one line per request
                stderr=output,
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is for the owner, which then stops us in order
                pass_fds=(self._lock,),
                preexec_fn=_die_with_parent(self._parent_death),  # noqa: PLW1509 - async-signal-safe calls only
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        finally:
            if output != subprocess.DEVNULL:
                os.close(output)

    def prepare(self, argv: Sequence[str | Path], account: Account | None) -> None:
        """Run a command to its end in the owned directory (blocking; any thread); StartFailed when it fails.

        It shares the lock like the child: if the owner is killed meanwhile, a successor waits until it is done.
        """
        if self._lock is None:
            raise RuntimeError(f"{self.name}: own() comes before prepare()")
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            check=False,
            pass_fds=(self._lock,),
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode:
            said = done.stderr[-2000:].decode(errors="replace")
            raise StartFailed(f"{self.name}: {Path(argv[0]).name} failed with {done.returncode}:\n{said}")

    async def until_ready(self, probe: Callable[[], Awaitable[bool]], *, timeout: float, log: Path) -> None:
        """Poll `probe` until it is true; StartFailed (with the log's end) when the child exits or `timeout` s pass."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not await probe():
            if self.pid is None:
                code = await self.wait_exit()
                raise StartFailed(f"{self.name} exited with {code} while starting:\n{_tail(log)}")
            if loop.time() > deadline:
                raise StartFailed(f"{self.name} was not ready after {timeout:.0f} s:\n{_tail(log)}")
            await asyncio.sleep(_POLL)

    async def start(
        self, argv: Sequence[str | Path], probe: Callable[[], Awaitable[bool]], *, timeout: float, log: Path
    ) -> None:
        """Own the state directory, spawn unless it runs, and wait until it is ready; what never gets ready, or is
        waited for no longer, is stopped. Raises StartFailed or OwnedElsewhere."""
        private_directory(self.state)
        await self.own()
        if self.pid is None:
            self.spawn(argv, log=log)
        try:
            await self.until_ready(probe, timeout=timeout, log=log)
        except BaseException:  # also when cancelled: a child that nobody holds would run for ever
            await self.stop()
            raise

    async def wait_exit(self) -> int:
        """Return the child's exit code (negative: the signal that ended it) once it has ended."""
        process = self._process
        if process is None:
            raise RuntimeError(f"{self.name} has not been started")
        if process.poll() is None:
            # A pidfd becomes readable when the process ends: no thread, no SIGCHLD handler, works on any loop.
            descriptor = os.pidfd_open(process.pid)
            ended = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(descriptor, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
        return process.wait()

    async def stop(self) -> None:
        """End the child, gently first, and give the state directory back. Does nothing when nothing runs."""
        process = self._process
        if process is not None and process.poll() is None:
            for number, patience in (*self._stop_signals, (signal.SIGKILL, 30.0)):
                process.send_signal(number)
                try:
                    await asyncio.wait_for(self.wait_exit(), patience)
                except TimeoutError:
                    continue
                break
        if self._lock is not None:
            # close, never LOCK_UN: an unlock through any descriptor would also release the child's share.
            os.close(self._lock)
            self._lock = None


def private_directory(path: Path, account: Account | None = None) -> Path:
    """Create `path` (mode 0700, owned by `account` or by us); refuse one that belongs to somebody else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    allowed = {os.geteuid()} | ({account.uid} if account else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in allowed:
        raise StartFailed(f"{path} exists and is not a directory of ours; remove it or choose another state directory.")
    path.chmod(0o700)
    if account:
        os.chown(path, account.uid, account.gid)
    return path


def socket_directory(state: Path, room: int, account: Account | None = None) -> Path:
    """A private directory for a unix socket whose file name takes `room` bytes; always the same one for one `state`.

    A long state path gets a short stand-in below the temp directory.
    """
    inside = state / "run"
    if len(os.fsencode(inside)) + 1 + room < _SUN_PATH:
        return private_directory(inside, account)
    return private_directory(_stand_in(state), account)


def remove_stand_in(state: Path) -> None:
    """After a stop: leave nothing of `socket_directory` in the temp directory."""
    with suppress(OSError):  # there was none, or a socket that somebody else looks after is still in it
        _stand_in(state).rmdir()


def _stand_in(state: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"tria-{digest}")


def stored_password(path: Path) -> str:
    """The random password kept in `path` (mode 0600), made at the first call; safe against a kill at any point."""
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(24))
        draft.replace(path)
    return path.read_text()


def stored_key(path: Path) -> str:
    """A random key of 32 bytes, in base64, kept like `stored_password`."""
    return base64.b64encode(hashlib.sha256(stored_password(path).encode()).digest()).decode()


def _die_with_parent(number: signal.Signals) -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved here: after fork only the call itself is safe
    parent = os.getpid()

    def after_fork() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl: the signal will never come
            os._exit(1)

    return after_fork


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Readable once the process has ended, even while it is a zombie that its parent has not reaped yet.
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


def _open_log(log: Path | None) -> int:
    if log is None:
        return subprocess.DEVNULL
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.old"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _tail(log: Path, size: int = 2000) -> str:
    try:
        return log.read_bytes()[-size:].decode(errors="replace").strip()
    except FileNotFoundError:
        return f"(no log at {log})"
