"""Network namespaces, cables, processes and measurements for tests on real networks.

A `Lab` makes namespaces named `wgpyt-<pid>-<n>`, runs programs in them and removes everything
it made when it closes, also after a failure. Nothing is imitated: the programs are `ip`, `wg`,
`ping`, `iperf3` and `nft`.
"""

import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.process import Child as Child
from tests.process import Done as Done
from tests.process import LabError as LabError
from tests.process import command as command
from tests.process import wait_until as wait_until

UAPI = Path("/run/wireguard")
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_numbers = itertools.count(1)


class Throughput(NamedTuple):
    """What iperf3 measured at the receiving end."""

    bits_per_second: float
    lost_percent: float
    report: dict[str, Any]


def keypair() -> tuple[str, str]:
    """Return a fresh private key and its public key as `wg` writes them."""
    private = command(["wg", "genkey"]).stdout.strip()
    return private, command(["wg", "pubkey"], stdin=private).stdout.strip()


class Lab:
    """Namespaces and what runs in them, gone when the lab closes.

    Wherever a namespace is asked for, None is the one of the test itself. With `private_run`
    the lab's programs share a `/run/wireguard` of their own that nobody else sees.
    """

    def __init__(self, *, private_run: bool = False):
        self.namespaces: list[str] = []
        self.children: list[Child] = []
        self.interfaces: list[str] = []
        self.directory = Path(tempfile.mkdtemp(prefix=f"wgpyt-{os.getpid()}-"))
        self.ports = itertools.count(5301)
        self.holder: Child | None = None
        if private_run:
            self.holder = self._hold_private_run()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- network ---------------------------------------------------------------------------

    def ns(self) -> str:
        """Return the name of a new namespace with its loopback up."""
        name = f"wgpyt-{os.getpid()}-{next(_numbers)}"
        self.namespaces.append(name)
        command(["ip", "netns", "add", name])
        self.ip(name, "link", "set", "lo", "up")
        self.sysctl(name, "net.ipv6.conf.default.accept_dad", 0)
        return name

    def ifname(self) -> str:
        """Return an interface name no other lab uses: all share one place for UAPI sockets."""
        number, digits = os.getpid(), ""
        while number:
            number, digit = divmod(number, 36)
            digits = DIGITS[digit] + digits
        name = f"wt{digits}n{next(_numbers)}"
        self.interfaces.append(name)
        return name

    def ip(self, ns: str | None, *words: object, check: bool = True) -> str:
        """Run `ip` on a namespace and return what it prints."""
        into = ["-n", ns] if ns else []
        return command(["ip", *into, *words], check=check).stdout

    def address(self, ns: str | None, interface: str, *addresses: str) -> None:
        """Give an interface its addresses (`192.0.2.1/24`, `2001:db8::1/64`) and set it up."""
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.ip(ns, "address", "add", address, "dev", interface, *nodad)
        self.ip(ns, "link", "set", interface, "up")

    def veth(
        self,
        a: str,
        b: str,
        a_addresses: Iterable[str] = (),
        b_addresses: Iterable[str] = (),
        mtu: int = 1500,
    ) -> tuple[str, str]:
        """Lay a cable between two namespaces and return the interface names at both ends."""
        number = next(_numbers)
        left, right = f"ve{number}a", f"ve{number}b"
        self.ip(
            *(a, "link", "add", left, "mtu", mtu, "type", "veth"),
            *("peer", "name", right, "mtu", mtu, "netns", b),
        )
        self.address(a, left, *a_addresses)
        self.address(b, right, *b_addresses)
        return left, right

    def pair(
        self,
        a_addresses: Iterable[str] = ("192.0.2.1/24", "2001:db8::1/64"),
        b_addresses: Iterable[str] = ("192.0.2.2/24", "2001:db8::2/64"),
        mtu: int = 1500,
    ) -> tuple[str, str]:
        """Return two new namespaces joined by a cable."""
        a, b = self.ns(), self.ns()
        self.veth(a, b, a_addresses, b_addresses, mtu)
        return a, b

    def bridge(self, ns: str, *addresses: str) -> str:
        """Return the name of a new bridge in `ns`; `plug` connects namespaces to it."""
        name = f"br{next(_numbers)}"
        self.ip(ns, "link", "add", name, "type", "bridge")
        self.address(ns, name, *addresses)
        return name

    def plug(self, switch: str, bridge: str, ns: str, *addresses: str) -> str:
        """Connect `ns` to a bridge in the namespace `switch`; return its interface in `ns`."""
        port, interface = self.veth(switch, ns, (), addresses)
        self.ip(switch, "link", "set", port, "master", bridge)
        return interface

    def sysctl(self, ns: str, key: str, value: object) -> None:
        """Set a kernel parameter of a namespace."""
        self.run(ns, "sysctl", "-qw", f"{key}={value}")

    def nft(self, ns: str, rules: str) -> None:
        """Load nftables rules into a namespace."""
        self.run(ns, "nft", "-f", "-", stdin=rules)

    def etc(self, ns: str, name: str, text: str) -> None:
        """Let programs started in `ns` from now on find `text` in /etc/`name`."""
        path = Path("/etc/netns") / ns / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # --- programs --------------------------------------------------------------------------

    def argv(self, ns: str | None, *words: object) -> list[str]:
        """Return the command line that runs `words` in a namespace under the same pid."""
        enter = []
        if self.holder is not None:
            enter = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--"]
        if ns is not None:
            enter += ["ip", "netns", "exec", ns]
        return [*enter, *(str(word) for word in words)]

    def run(
        self,
        ns: str | None,
        *words: object,
        check: bool = True,
        timeout: float = 30,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a program in a namespace to its end.

        Raises:
            LabError: it ended with another code than 0 (when `check`), or not in time.
        """
        return command(
            self.argv(ns, *words), check=check, timeout=timeout, stdin=stdin, env=env
        )

    def spawn(
        self, ns: str | None, *words: object, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start a program in a namespace; it is ended with the lab at the latest."""
        log = self.directory / f"{next(_numbers)}.log"
        child = Child(self.argv(ns, *words), log, env)
        self.children.append(child)
        return child

    def python(
        self, ns: str | None, *words: object, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start this Python in a namespace: `lab.python(ns, "-m", "wgpy", ...)`."""
        return self.spawn(ns, sys.executable, *words, env=env)

    def uapi(self, interface: str) -> Path:
        """Return where the UAPI socket of an interface appears, as seen from the test."""
        root = Path(f"/proc/{self.holder.pid}/root") if self.holder else Path("/")
        return root / UAPI.relative_to("/") / f"{interface}.sock"

    def wait_uapi(self, interface: str, timeout: float = 10) -> Path:
        """Wait for the UAPI socket of an interface."""
        path = self.uapi(interface)
        wait_until(path.is_socket, timeout, f"UAPI socket of {interface}")
        return path

    def wg(self, *words: object, stdin: str | None = None, ns: str | None = None) -> str:
        """Run `wg` and return what it prints."""
        return self.run(ns, "wg", *words, stdin=stdin).stdout

    # --- measurements ----------------------------------------------------------------------

    def ping(
        self,
        ns: str | None,
        ip: str,
        count: int = 3,
        *,
        flood: bool = False,
        interval: float = 0.2,
        options: Sequence[object] = (),
    ) -> int:
        """Return how many of `count` pings were answered; at most a second is waited for each.

        Args:
            ns: where to ping from.
            ip: the address to ping, of either family.
            count: how many.
            flood: as fast as answers come, instead of every `interval` seconds.
            interval: seconds from one ping to the next.
            options: more options of `ping`, for example `("-s", 1400, "-M", "do")`.
        """
        limit = max(2, int(count * (0.05 if flood else interval)) + 2)
        common = ("ping", "-n", "-c", count, *options)
        if flood:
            # -f and -q wait for the last answer no longer than twice the slowest yet. With -w
            # more than `count` are sent until so many are answered: those are not looked at.
            done = self.run(ns, *common, "-A", "-w", limit, ip, check=False, timeout=limit + 10)
            found = re.findall(r"bytes from .* icmp_seq=(\d+)", done.stdout)
            answered = {int(number) for number in found}
            if "packets transmitted" not in done.stdout:
                raise LabError(f"ping {ip}: {done.stdout}{done.stderr}")
            return len(answered & set(range(1, count + 1)))
        pace = ("-q", "-W", 1, "-i", interval)
        done = self.run(ns, *common, *pace, ip, check=False, timeout=limit + 10)
        match = re.search(r"transmitted, (\d+) received", done.stdout)
        if match is None:
            raise LabError(f"ping {ip}: {done.stdout}{done.stderr}")
        return int(match[1])

    def wait_ping(self, ns: str | None, ip: str, timeout: float = 10) -> None:
        """Ping until an answer comes.

        Raises:
            LabError: none came within `timeout` seconds.
        """

        def answered() -> bool:
            options = ["-n", "-q", "-c", 1, "-W", 1]
            return self.run(ns, "ping", *options, ip, check=False).returncode == 0

        wait_until(answered, timeout, f"an answer from {ip} in {ns}")

    def iperf(
        self,
        client: str | None,
        server: str | None,
        ip: str,
        seconds: float = 3,
        *,
        udp: str | None = None,
        options: Sequence[object] = (),
    ) -> Throughput:
        """Measure from `client` to `ip` in `server`.

        Args:
            client: the namespace that sends.
            server: the namespace `ip` belongs to.
            ip: the address to send to.
            seconds: how long.
            udp: a rate such as "100M" for datagrams at that rate; None is one TCP stream.
            options: more options of the iperf3 client: `("-P", 4)`, `("-R",)`, `("-l", 1200)`.
        """
        port = next(self.ports)
        listener = self.spawn(
            server, "iperf3", "-s", "-1", "-B", ip, "-p", port, "--forceflush"
        )
        listener.wait_log("Server listening")
        kind = ["-u", "-b", udp] if udp else []
        argv = ["iperf3", "-J", "-c", ip, "-p", port, "-t", seconds, *kind, *options]
        done = self.run(client, *argv, check=False, timeout=seconds + 30)
        listener.stop()
        report = json.loads(done.stdout or "{}")
        if done.returncode != 0 or "error" in report:
            raise LabError(f"iperf3 to {ip}: {report.get('error')} {done.stderr}")
        end = report["end"]
        if udp:
            total = end["sum"]
            lost = float(total["lost_percent"])
            return Throughput(total["bits_per_second"] * (1 - lost / 100), lost, report)
        return Throughput(end["sum_received"]["bits_per_second"], 0.0, report)

    # --- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """End every program and remove every namespace, whatever state they are in."""
        for child in reversed(self.children):
            code = child.stop() if child.alive else child.process.returncode
            print(f"--- {' '.join(child.argv)}: {code}\n{child.log()[-4000:]}")
        for name in reversed(self.namespaces):
            remove_namespace(name)
        if self.holder is not None:
            self.holder.stop()
        for interface in self.interfaces:
            (UAPI / f"{interface}.sock").unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.children, self.namespaces, self.interfaces = [], [], []

    def _hold_private_run(self) -> Child:
        script = (
            f"mkdir -p {UAPI} && mount -t tmpfs tmpfs {UAPI} && echo ready && exec sleep 1d"
        )
        argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script]
        holder = Child(argv, self.directory / "holder.log")
        try:
            holder.wait_log("ready")
        except LabError:
            holder.stop()
            raise
        return holder


def remove_namespace(name: str) -> None:
    """End what still runs in a namespace of a lab, then remove it."""
    pids = command(["ip", "netns", "pids", name], check=False).stdout.split()
    for pid in pids:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    command(["ip", "netns", "delete", name], check=False)
    shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def sweep() -> list[str]:
    """Remove what test runs that have died left behind; return its names."""
    swept = []
    for path in sorted(Path("/run/netns").glob("wgpyt-*")):
        if _of_the_dead(r"wgpyt-(\d+)-\d+", path.name, 10):
            remove_namespace(path.name)
            swept.append(path.name)
    for path in sorted(UAPI.glob("wt*.sock")):
        # 'n' is a digit of base 36 as well: the greedy group takes the longest pid.
        if _of_the_dead(r"wt([0-9a-z]+)n\d+\.sock", path.name, 36):
            path.unlink(missing_ok=True)
            swept.append(path.name)
    for path in sorted(Path(tempfile.gettempdir()).glob("wgpyt-*")):
        if _of_the_dead(r"wgpyt-(\d+)-\w+", path.name, 10):
            shutil.rmtree(path, ignore_errors=True)
            swept.append(path.name)
    return swept


def _of_the_dead(pattern: str, name: str, base: int) -> bool:
    match = re.fullmatch(pattern, name)
    return match is not None and not Path("/proc", str(int(match[1], base))).exists()
