"""The contract with the host: background start, privileges, core dumps, private files.

Imported before anything else of wgpy and by the launching parent, so it loads nothing heavy:
no asyncio, cryptography, numpy or pyroute2, and ctypes only when it is called for. The order
of a start: `detach` and `forbid_core_dumps`, then the heavy imports, the interface, its socket
and its watch, which need privileges; `drop_privileges` while the process still has one thread,
then `Readiness.ready`.
"""

import gc
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Final, NamedTuple

from wgpy.errors import ConfigError
from wgpy.io import libc

# CAP_NET_ADMIN creates the TUN and sets marks and buffer sizes of sockets; without
# CAP_NET_BIND_SERVICE `wg set wg0 listen-port 53` fails once privileges are dropped.
NEEDED_CAPABILITIES: Final = frozenset({"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"})
TUN_DEVICE: Final = "/dev/net/tun"
GC_THRESHOLDS: Final = (20_000, 20, 20)
SECRET_MODE: Final = 0o600
MAX_SECRET_FILE_SIZE: Final = 64 * 2**20

_STANDARD_FDS: Final = (0, 1, 2)
_LISTENED_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAILED: Final = 1

# Numbered from 0 (linux/capability.h).
_CAPABILITIES: Final = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID"),
    *("CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW"),
    *("CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT"),
    *("CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE"),
    *("CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE"),
    *("CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE"),
    *("CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND"),
    *("CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"),
)
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4


# --- background start ------------------------------------------------------


def own_command(package: str = "wgpy") -> list[str]:
    """Return the command that starts this program anew, to which arguments are added.

    `package` is the one beside ours that is meant.

    `python -m` looks for modules in the working directory first: anybody's, where root types
    the command. It is left out unless this program itself is there, as in a checkout.
    """
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    options = [] if os.path.samefile(home, ".") else ["-P"]
    return [sys.executable, *options, "-m", package]


class Readiness:
    """How a started process tells that it serves; in the foreground it tells nobody."""

    def __init__(self, pipe: int | None = None, *, keep_output: bool = True) -> None:
        self.background = pipe is not None
        self._pipe = pipe
        self._keep_output = keep_output

    def ready(self) -> None:
        """Let go of the terminal and let the launching parent exit 0; later calls do nothing.

        From here on the working directory is `/` (relative paths must have been opened) and
        standard input, and with `keep_output` false also output and error, is /dev/null.
        """
        if self._pipe is None:
            return
        pipe, self._pipe = self._pipe, None
        os.chdir("/")
        _flush()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in _STANDARD_FDS[:1] if self._keep_output else _STANDARD_FDS:
            os.dup2(null, fd)
        os.close(null)
        with suppress(BrokenPipeError):  # whoever waited was killed; the interface stands
            os.write(pipe, b"\n")
        os.close(pipe)


def output_kept(environ: Mapping[str, str]) -> bool:
    """Tell whether a background process keeps its output: LOG_LEVEL is set, not to silent."""
    return environ.get("LOG_LEVEL", "silent").lower() not in ("", "silent")


def detach(*, keep_output: bool = False) -> Readiness:
    """Continue in a background child of a session of its own; only the child returns.

    The parent waits. It exits 0 once the child calls `ready`; if the child ends before, with
    the child's status; if the child is killed or ends with 0, with 1 and a line on standard
    error. What the child writes to standard error before `ready` is seen by the caller.
    SIGINT, SIGTERM and SIGHUP of the waiting parent go to the child.

    Call it while the process has one thread and before heavy imports. The child forks nobody
    before `ready`: a grandchild would hold the pipe on which the parent sees the child end.
    """
    _reserve_standard_fds()
    _flush()
    read_end, write_end = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _LISTENED_SIGNALS)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(read_end)
        os.setsid()
        return Readiness(write_end, keep_output=keep_output)
    os.close(write_end)
    forward = _forwarder(child)
    for number in _LISTENED_SIGNALS:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os._exit(_outcome(child, read_end))


def _reserve_standard_fds() -> None:
    # A caller may have closed them; a pipe or a TUN must not get one of their numbers.
    while (fd := os.open(os.devnull, os.O_RDWR)) in _STANDARD_FDS:
        os.set_inheritable(fd, True)  # noqa: FBT003 - takes no keyword
    os.close(fd)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()


def _forwarder(child: int) -> Callable[[int, FrameType | None], None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    return forward


def _outcome(child: int, pipe: int) -> int:
    if os.read(pipe, 1):
        return 0
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code > 0:
        return code
    why = f"it was killed by signal {-code}" if code < 0 else "it ended"
    with suppress(OSError):
        os.write(2, f"wgpy: the interface is not up: {why} before it was ready\n".encode())
    return _FAILED


# --- privileges ------------------------------------------------------------


def capabilities() -> set[str]:
    """Return the effective capabilities of this thread, as `CAP_NET_ADMIN`."""
    return _names(int(_status("CapEff"), 16))


def drop_privileges(keep: Iterable[str] = NEEDED_CAPABILITIES) -> None:
    """Give up for good every capability but those of `keep` that the process has.

    The user stays: a process of uid 0 keeps what root's ownership of files gives, so that it
    can unlink its socket. The inheritable, ambient and bounding sets become empty and no
    program that is started later can gain anything: hooks run before, or elsewhere.

    Capabilities belong to threads, so this is to be called while there is one only.

    Raises:
        OSError: the kernel refused.
    """
    assert int(_status("Threads")) == 1, "other threads would keep their capabilities"
    if "CAP_SETPCAP" in capabilities():  # else no_new_privs alone keeps the set from use
        for number in range(_last_capability() + 1):
            _prctl(_PR_CAPBSET_DROP, number)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    kept = int(_status("CapPrm"), 16) & _bits(keep)
    _capset(kept)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def advice() -> str:
    """Return what to add to a line that says permission denied: root cannot be told to sudo."""
    return "" if os.geteuid() == 0 else "; use sudo"


def missing_privileges(tun: str = TUN_DEVICE) -> str | None:
    """Return one line on what this process lacks to create an interface, and how to get it.

    None if it lacks nothing.
    """
    lacks = []
    if "CAP_NET_ADMIN" not in capabilities():
        sudo = "" if os.geteuid() == 0 else "use sudo; "
        lacks.append(
            f"no CAP_NET_ADMIN: {sudo}for docker and podman run --cap-add NET_ADMIN "
            f"--device {TUN_DEVICE}; in a systemd unit AmbientCapabilities=CAP_NET_ADMIN"
        )
    try:
        os.close(os.open(tun, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        lacks.append(f"no {tun}: {_how_to_get(tun)}")
    except OSError as error:
        lacks.append(
            f"{tun} cannot be opened ({error.strerror}): in docker and podman --device {tun}, "
            "in a systemd unit DeviceAllow=/dev/net/tun rw"
        )
    return "; ".join(lacks) or None


# <malloc.h>: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD; bytes.
_MALLOC_OPTIONS: Final = ((-1, 16 << 20), (-2, 1 << 20), (-3, 4 << 20))


def forbid_core_dumps() -> None:
    """Keep the process's keys out of core files and from debuggers of the same user.

    Swapped memory is not covered: locking it takes more than a service is usually allowed.

    Raises:
        OSError: the kernel refused.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def expect_bursts() -> None:
    """Prepare this program for its data path, once its modules are loaded, but for numpy."""
    # numpy's library for matrices, which nothing here uses, would start a thread a core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(*GC_THRESHOLDS)  # cycles are few, prefixes may be 100,000
    gc.freeze()
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep what the buffers of a burst take, instead of asking for it anew.

    By default glibc returns the top of its heap beyond 128 KiB, and the kernel clears each page
    of it for the next burst. A C library without mallopt(3) is left as it is.
    """
    with suppress(OSError, AttributeError):
        for parameter, size in _MALLOC_OPTIONS:
            libc.call("mallopt", parameter, size)


def die_with_parent() -> None:
    """Let the kernel end this process when its parent dies; for a child before it execs."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_by_signals() -> list[int]:
    """Let SIGTERM end this program as Ctrl-C does, with everything cleaned up.

    Returns:
        Where the signals that come are noted: the exception of one that comes while the
        interpreter forks is lost.
    """
    own, noted = os.getpid(), list[int]()

    def interrupt(number: int, _: FrameType | None) -> None:
        if os.getpid() == own:
            noted.append(number)
            raise KeyboardInterrupt
        # A helper process that pyroute2 forked and ends this way: the clean-up is not its own.
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    return noted


def _how_to_get(tun: str) -> str:
    docker = f"in docker and podman --device {tun}"
    if os.path.exists("/sys/class/misc/tun"):
        folder = os.path.dirname(tun)
        return f"{docker}, elsewhere mkdir -p {folder} && mknod {tun} c 10 200"
    return f"run modprobe tun on the host; {docker}"


def _status(field: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith(f"{field}:"):
                return line.partition(":")[2].strip()
    raise OSError(f"/proc/self/status has no {field}")


def _names(bits: int) -> set[str]:
    return {name for number, name in enumerate(_CAPABILITIES) if bits >> number & 1}


def _bits(names: Iterable[str]) -> int:
    return sum(1 << _CAPABILITIES.index(name) for name in set(names))


def _last_capability() -> int:
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return len(_CAPABILITIES) - 1


def _prctl(option: int, argument: int) -> None:
    libc.call("prctl", option, argument, 0, 0, 0)


def _capset(kept: int) -> None:
    # Two structures a 32-bit half, low half first: effective, permitted, inheritable.
    halves = (kept & 0xFFFFFFFF, kept >> 32)
    sets = b"".join(struct.pack("=3I", half, half, 0) for half in halves)
    libc.call("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), sets)


# --- private files ---------------------------------------------------------


class SecretFile(NamedTuple):
    """What a private file holds; `warning` is one line if others may read it, else None."""

    content: bytes
    warning: str | None


def read_secret_file(path: str) -> SecretFile:
    """Read a file that holds keys; pipes are read to their end.

    Raises:
        ConfigError: it cannot be read, or is larger than any configuration.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_SECRET_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(content) > MAX_SECRET_FILE_SIZE:
        raise ConfigError(f"{path}: larger than {MAX_SECRET_FILE_SIZE >> 20} MiB")
    if not stat.S_ISREG(mode) or not mode & 0o077:
        return SecretFile(content, None)
    return SecretFile(
        content,
        f"{path}: others may read these keys (mode {mode & 0o777:04o}); chmod 600 {path}",
    )


def write_whole(path: str, content: bytes, mode: int = SECRET_MODE) -> None:
    """Write a file that is at every moment the old one or the new one, whole.

    A symbolic link is followed, not replaced. The mode is for keys unless given.

    Raises:
        OSError: it cannot be written; the old one stands, or the new one if it is only not
            sure to be on the disk.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    draft = os.path.join(folder, f".{name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):  # of a killed process that had our number
        os.unlink(draft)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
