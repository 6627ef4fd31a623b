"""Our node and another implementation facing each other over a cable.

Outside they are 192.0.2.1 and .2, 2001:db8::1 and ::2; inside 10.9.0.1 and .2, fd09::1 and ::2;
the first is always ours.
"""

import re
import shlex
import signal
from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self

from tests import foreign, kernel_vm
from tests.kernel_vm import KernelVm
from tests.lab import Child, Lab, LabError, keypair, wait_until

PORT = 51820
# What programs read as a file and find what they are given; the guest has no /dev/stdin.
STDIN = "/proc/self/fd/0"
# Otherwise an interface loses its IPv6 addresses when it goes down.
KEEP_IPV6 = "net.ipv6.conf.all.keep_addr_on_down"
KERNEL = "kernel"
RIVALS = (*foreign.NAMES, KERNEL)
# Without padding of data and with its own way of counting (see tests that ask for it).
BORINGTUN = "boringtun"


class Ends(NamedTuple):
    """The addresses of one side."""

    outer4: str
    outer6: str
    inner4: str
    inner6: str

    def outer(self, family: int, port: int = PORT) -> str:
        """Return its endpoint in a family, as `wg` writes it."""
        return f"{self.outer4}:{port}" if family == 4 else f"[{self.outer6}]:{port}"

    @property
    def outer_addresses(self) -> tuple[str, str]:
        return f"{self.outer4}/24", f"{self.outer6}/64"

    @property
    def inner_addresses(self) -> tuple[str, str]:
        return f"{self.inner4}/24", f"{self.inner6}/64"


OUR_ENDS = Ends("192.0.2.1", "2001:db8::1", "10.9.0.1", "fd09::1")
THEIR_ENDS = Ends("192.0.2.2", "2001:db8::2", "10.9.0.2", "fd09::2")


class PeerLine(NamedTuple):
    """What `wg show dump` says of the only peer."""

    endpoint: str
    preshared_key: str
    handshake: int
    rx: int
    tx: int


class Side(Protocol):
    """A node of either kind."""

    interface: str
    ends: Ends

    def wg(self, *words: str, stdin: str | None = None) -> str:
        """Run `wg` where it sees the interface."""
        ...

    def ping(self, ip: str, count: int = 3, *, options: Sequence[object] = ()) -> int:
        """Return how many of `count` pings, ten a second, were answered."""
        ...

    def ip(self, *words: object) -> None:
        """Run `ip` where the interface is."""
        ...

    def shell(self, script: str) -> str:
        """Run a script where the interface is and return what it prints."""
        ...

    def restart(self) -> None:
        """Begin anew with a bare interface that is up."""
        ...


class Program:
    """A node that is a process in a namespace."""

    def __init__(self, lab: Lab, ns: str, ends: Ends, name: str | None) -> None:
        self.lab, self.ns, self.ends, self.name = lab, ns, ends, name
        self.interface = lab.ifname()
        self.child = self.start()

    def start(self, *arguments: str) -> Child:
        """Start it; with `arguments` ours runs as the node of `quick_node`."""
        words = ["-m", "tests.interop.quick_node", *arguments] if arguments else ["-m", "wgpy"]
        if self.name is not None:
            child = foreign.launch(self.lab, self.ns, self.name, self.interface).child
        elif arguments:
            child = self.lab.python(self.ns, *words, self.interface)
        else:
            env = {"LOG_LEVEL": "verbose"}
            child = self.lab.python(self.ns, *words, "-f", self.interface, env=env)
        self.lab.wait_uapi(self.interface)
        self.lab.address(self.ns, self.interface, *self.ends.inner_addresses)
        return child

    def restart(self, *arguments: str) -> None:
        assert self.child.stop() == 0 or self.name == BORINGTUN, self.child.log()
        self.lab.uapi(self.interface).unlink(missing_ok=True)
        self.child = self.start(*arguments)

    def wg(self, *words: str, stdin: str | None = None) -> str:
        return self.lab.wg(*words, stdin=stdin)

    def ping(self, ip: str, count: int = 3, *, options: Sequence[object] = ()) -> int:
        return self.lab.ping(self.ns, ip, count, interval=0.1, options=options)

    def ip(self, *words: object) -> None:
        self.lab.ip(self.ns, *words)

    def shell(self, script: str) -> str:
        return self.lab.run(self.ns, "sh", "-c", script).stdout


class Kernel:
    """The kernel's node in its machine."""

    interface = "wg0"

    def __init__(self, vm: KernelVm, ends: Ends) -> None:
        self.vm, self.ends = vm, ends
        self.restart()

    def restart(self) -> None:
        self.vm.run("ip link del wg0 2>/dev/null; ip link add wg0 type wireguard")
        self.vm.address("wg0", *self.ends.inner_addresses)

    def wg(self, *words: str, stdin: str | None = None) -> str:
        self.vm.write("/tmp/stdin", stdin or "")
        return self.vm.run(f"{shlex.join(('wg', *words))} </tmp/stdin")

    def ping(self, ip: str, count: int = 3, *, options: Sequence[object] = ()) -> int:
        return self.vm.ping(ip, count, options=" ".join(map(str, ("-i", 0.1, *options))))

    def ip(self, *words: object) -> None:
        self.vm.run(f"ip {' '.join(map(str, words))}")

    def shell(self, script: str) -> str:
        return self.vm.run(script)


class Rig:
    """Both sides, and the keys they have at the moment."""

    def __init__(self, lab: Lab, rival: str) -> None:
        self.lab, self.rival = lab, rival
        self.ns = lab.ns()
        self.their_ns: str | None = None
        self.vm: KernelVm | None = None
        self.theirs: Side
        if rival == KERNEL:
            kernel_vm.require()
            self.vm = vm = KernelVm.wired(
                lab,
                self.ns,
                OUR_ENDS.outer_addresses,
                THEIR_ENDS.outer_addresses,
                programs=("ping",),
                life=900,
            )
            self.cable = lab.interfaces[-1]
            vm.run(f"sysctl -w {KEEP_IPV6}=1")
            self.theirs = Kernel(vm, THEIR_ENDS)
        else:
            foreign.require(rival)
            self.their_ns = lab.ns()
            ends = OUR_ENDS.outer_addresses, THEIR_ENDS.outer_addresses
            self.cable, _ = lab.veth(self.ns, self.their_ns, *ends)
            self.theirs = Program(lab, self.their_ns, THEIR_ENDS, rival)
            lab.sysctl(self.their_ns, KEEP_IPV6, 1)
        lab.sysctl(self.ns, KEEP_IPV6, 1)
        self.ours = Program(lab, self.ns, OUR_ENDS, None)
        self.our_keys = self.their_keys = ("", "")
        self.family = 0
        for address in (THEIR_ENDS.outer4, THEIR_ENDS.outer6):
            lab.wait_ping(self.ns, address)

    def close(self) -> None:
        """Switch the machine off, if there is one; the lab ends the rest."""
        if self.vm is not None:
            self.vm.close()

    def introduce(
        self, initiator: Side | None = None, family: int = 4, psk: str | None = None
    ) -> None:
        """Give both fresh keys, and the initiator alone (None: both) the other's endpoint."""
        if self.rival == "wireguard-go" and self.family == 4 != family:
            # Version 20250522 sends to a mangled IPv6 address after it has sent to IPv4.
            self.theirs.restart()
        self.family = family
        self.our_keys, self.their_keys = keypair(), keypair()
        for side in (self.ours, self.theirs):
            self.configure(side, initiator in (None, side), family, psk)

    def configure(self, side: Side, knows: bool, family: int, psk: str | None) -> None:
        """Configure one side with the keys as they are; `knows` where the other is, or not."""
        mine, other, far = self.our_keys, self.their_keys, THEIR_ENDS
        if side is self.theirs:
            mine, other, far = other, mine, OUR_ENDS
        lines = [
            "[Interface]",
            f"PrivateKey = {mine[0]}",
            f"ListenPort = {PORT}",
            "[Peer]",
            f"PublicKey = {other[1]}",
            f"AllowedIPs = {far.inner4}/32, {far.inner6}/128",
            *([f"Endpoint = {far.outer(family)}"] if knows else []),
            *([f"PresharedKey = {psk}"] if psk else []),
        ]
        side.wg("setconf", side.interface, STDIN, stdin="\n".join(lines) + "\n")

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU of both interfaces."""
        for side in (self.ours, self.theirs):
            side.ip("link", "set", side.interface, "mtu", mtu)

    def route(self, verb: str, mtu: int) -> None:
        """Have ("replace") or not ("delete") routes to each other with an MTU of their own."""
        for side in (self.ours, self.theirs):
            to = self.other(side).ends.inner4
            side.ip("route", verb, to, "dev", side.interface, "mtu", mtu)

    def other(self, side: Side) -> Side:
        return self.theirs if side is self.ours else self.ours

    def peer(self, side: Side) -> PeerLine:
        """Return the only peer of one side."""
        line = side.wg("show", side.interface, "dump").splitlines()[1].split("\t")
        handshake, rx, tx = (int(number) for number in line[4:7])
        return PeerLine(line[2], line[1], handshake, rx, tx)

    def wait_agreement(self) -> None:
        """Wait until each has counted as received what the other has as sent."""

        def agree() -> bool:
            ours, theirs = self.peer(self.ours), self.peer(self.theirs)
            return (ours.rx, ours.tx) == (theirs.tx, theirs.rx)

        try:
            wait_until(agree, 3)
        except LabError:
            both = self.peer(self.ours), self.peer(self.theirs)
            raise LabError(f"transfers differ: {both}") from None


class Pinging:
    """Pings, twenty a second, while the context lasts; afterwards `sent` and `lost`."""

    def __init__(self, lab: Lab, ns: str, ip: str) -> None:
        self.child = lab.spawn(ns, "ping", "-n", "-i", 0.05, ip)
        self.sent = self.lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.signal(signal.SIGINT)
        self.child.wait()
        # Those still under way at the end are neither lost nor sent.
        answered = {
            int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", self.child.log())
        }
        self.sent = max(answered, default=0)
        self.lost = self.sent - len(answered)
