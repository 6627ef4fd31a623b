"""`wgpy IFNAME`: a node as a process, with the launch contract of wg-quick (wg-quick(8)).

Returns to the caller when the interface exists and `wg` can configure it; the node goes on in
the background. It ends when the interface is deleted, when the socket is removed and on SIGTERM
or SIGINT. Nothing heavy is imported before the process has detached: `run` does that.

In the background it logs to the system's log; with LOG_LEVEL set, where its starter does.
SIGUSR1 switches debug lines on and off.

Environment, as of wireguard-go: LOG_LEVEL (verbose, debug, info, error, silent; ours: warning),
WG_TUN_FD, WG_UAPI_FD, WG_PROCESS_FOREGROUND=1. Of ours: WGPY_LOG_FORMAT (text, json), WGPY_MTU,
WGPY_FORWARD=1 (send what a peer has for another on to that one in process).
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final

from wgpy.errors import ConfigError, UsageError
from wgpy.io import process

if TYPE_CHECKING:
    from wgpy.io.tun_linux import TunLinux
    from wgpy.io.uapi_socket import UapiListener

FAILED: Final = 1
USAGE: Final = 2
# The largest descriptor or MTU that a system call can be given.
_MAX_INT: Final = 2**31 - 1
# So much of a wrong one is repeated.
_QUOTED: Final = 40
ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def launch(ifname: str, *, foreground: bool, environ: Mapping[str, str] = os.environ) -> int:
    """Start a node; in the background the caller's process ends here. Return the exit code."""
    foreground = foreground or environ.get("WG_PROCESS_FOREGROUND") == "1"
    inherits = "WG_TUN_FD" in environ
    problem = None if inherits else process.missing_privileges()
    if problem is not None:
        print(f"wgpy: {problem}", file=sys.stderr)
        return FAILED
    if foreground:
        readiness = process.Readiness()
    else:
        readiness = process.detach(keep_output=process.output_kept(environ))
    try:
        process.forbid_core_dumps()
        return _run(ifname, readiness, environ)
    except ConfigError as error:
        print(f"wgpy: {error}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else FAILED


def _run(ifname: str, readiness: process.Readiness, environ: Mapping[str, str]) -> int:
    import uvloop

    from wgpy.io import report

    report.configure(environ.get("LOG_LEVEL"), environ.get("WGPY_LOG_FORMAT", "text"))
    # From the first thing that is to be removed on, until the event loop listens to them.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    forward = environ.get("WGPY_FORWARD", "0")
    if forward not in ("", "0", "1"):
        raise UsageError(f"WGPY_FORWARD={forward}: it is 0 or 1")
    tun, listener = _open(ifname, environ)
    process.expect_bursts()

    def ready() -> None:
        readiness.ready()
        if readiness.background and not environ.get("LOG_LEVEL"):
            report.to_syslog()

    def toggle() -> None:
        report.toggle_debug(environ.get("LOG_LEVEL"))

    uvloop.run(_serve(tun, listener, ready, toggle, forward=forward == "1"))
    return 0


def _open(ifname: str, environ: Mapping[str, str]) -> "tuple[TunLinux, UapiListener]":
    """Open the interface and its socket, or take over inherited ones."""
    from wgpy.io import uapi_socket
    from wgpy.io.tun_linux import DEFAULT_MTU, TunLinux

    if "WG_TUN_FD" in environ:
        tun = TunLinux.from_fd(_number(environ, "WG_TUN_FD"))
    else:
        mtu = _number(environ, "WGPY_MTU") if "WGPY_MTU" in environ else DEFAULT_MTU
        tun = TunLinux.create(ifname, mtu, header=True)
    try:
        name = tun.name()
        if "WG_UAPI_FD" in environ:
            return tun, uapi_socket.adopt(_number(environ, "WG_UAPI_FD"), name)
        return tun, uapi_socket.bind(name)
    except BaseException:
        tun.close()
        raise


async def _serve(
    tun: "TunLinux",
    listener: "UapiListener",
    ready: Callable[[], None],
    toggle_debug: Callable[[], None],
    *,
    forward: bool,
) -> None:
    import asyncio

    from wgpy.io.report import Reporter
    from wgpy.node import Node

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(Reporter(tun.name()).callback_failed)
    ended = asyncio.Event()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGUSR1, toggle_debug)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    with closing(listener):
        async with Node(tun=tun, forward=forward) as node, asyncio.TaskGroup() as tasks:
            process.drop_privileges()
            waits = [
                tasks.create_task(ended.wait()),
                tasks.create_task(node.wait_gone()),
                tasks.create_task(node.serve_uapi(listener)),
            ]
            ready()
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()


def _number(environ: Mapping[str, str], name: str) -> int:
    from wgpy.wire.text import parse_number

    try:
        return parse_number(environ[name], _MAX_INT)
    except ConfigError:
        said = environ[name][:_QUOTED]
        raise UsageError(f"{name}={said}: it is a number, at most {_MAX_INT}") from None
