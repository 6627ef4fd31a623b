"""The TUN interface of Linux: packets of the host as reads and writes of /dev/net/tun.

The interface lives as long as its descriptor. Everything but `create` and `mtu` goes by the
descriptor and not by the name: the interface may be renamed and may be moved to a network
namespace where this process cannot name it.
"""

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from wgpy.errors import ConfigError, Rejected, UsageError
from wgpy.io import clock, netlink
from wgpy.io.counters import GONE, TunCounters
from wgpy.io.ports import READS
from wgpy.model import TunBurst
from wgpy.wire import vnet
from wgpy.wire.datagrams import SEGMENTS_MAX, V6_MAX
from wgpy.wire.messages import DATA_OVERHEAD

try:
    import pytun
except ImportError:  # it has wheels for x86-64 only
    pytun = None

DEVICE: Final = "/dev/net/tun"
DEFAULT_MTU: Final = 1420
GSO_MAX_SIZE: Final = 65536
NAME_SIZE: Final = 15
# The largest packet of an interface: MTU 65535.
PACKET_SIZE: Final = 65535
# Bytes that one `receive` takes at most, so that timers and the other ports get their turn: one
# read may bring a super packet of 64 KiB.
RECEIVE_SIZE: Final = 256 * 1024
# How long the process that had the name may take to go, seconds, and how often to look.
BUSY_PATIENCE: Final = 2.0
BUSY_INTERVAL_MS: Final = 20

# <linux/if_tun.h>, <linux/sockios.h>, <linux/if.h>
TUNSETIFF: Final = 0x400454CA
TUNGETIFF: Final = 0x800454D2
IFF_TUN: Final = 0x0001
IFF_PERSIST: Final = 0x0800
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
TUNSETOFFLOAD: Final = 0x400454D0
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40
SIOCGIFMTU: Final = 0x8921
SIOCSIFMTU: Final = 0x8922
_V6_MTU_LEAST: Final = 1280
_IFREQ_FLAGS: Final = struct.Struct("=16sH22x")
_IFREQ_INT: Final = struct.Struct("=16si20x")


class Offloads(NamedTuple):
    """Which super packets pass between the host and a TUN interface."""

    tcp: bool
    udp: bool


NO_OFFLOADS: Final = Offloads(tcp=False, udp=False)


class TunLinux:
    """A TUN interface on its non-blocking descriptor (a `TunPort`).

    It works packet by packet until `offload` turns super packets on; what the descriptor was
    told to do before it came here is turned off.
    """

    def __init__(self, fd: int, *, header: bool = False) -> None:
        self.counters = TunCounters()
        self._fd = fd
        # Whether each packet has a virtio header before it; without, there are no offloads.
        self._header = header
        # What was read, until the next `receive`.
        self._memory = memoryview(bytearray(RECEIVE_SIZE + vnet.HEADER_SIZE + PACKET_SIZE))
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        # The kernel keeps it with the interface: a persistent one has that of its last user.
        self.offload(tcp=False, udp=False)

    @classmethod
    def create(cls, name: str, mtu: int = DEFAULT_MTU, *, header: bool = False) -> "TunLinux":
        """Create the interface, or take over a persistent one that nobody has open.

        A name in use is tried again for `BUSY_PATIENCE` seconds: the process that had it may
        be about to end. `name` may be a template (`wg%d`). With `header` the interface can do
        `offload`.

        Raises:
            ConfigError: no device node, no permission, or a name that cannot be had.
        """
        check_name(name)
        tun = cls(_open_patiently(name, header=header), header=header)
        try:
            tun._prepare(mtu)
        except ConfigError:
            tun.close()
            raise
        tun.fit(mtu)
        return tun

    @classmethod
    def from_fd(cls, fd: int) -> "TunLinux":
        """Take over a TUN descriptor that was inherited and was opened with IFF_NO_PI.

        The kernel does not tell whether it was: TUNGETIFF has another flag in that bit.

        Raises:
            ConfigError: it is no TUN descriptor.
        """
        try:
            _, flags = _name_and_flags(fd)
        except OSError as error:
            raise ConfigError(f"fd {fd} is no TUN interface: {error.strerror}") from None
        if not flags & IFF_TUN:
            raise ConfigError(f"fd {fd} must be opened with IFF_TUN | IFF_NO_PI")
        _set_flags(fd)
        return cls(fd, header=bool(flags & IFF_VNET_HDR))

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    def name(self) -> str:
        """Return the name the interface has at this moment, in whatever namespace it is.

        Raises:
            EOFError: the interface is gone for good.
        """
        try:
            name, _ = _name_and_flags(self._fd)
        except OSError:
            raise EOFError("the TUN interface is gone") from None
        return name

    def mtu(self) -> int:
        """Return the MTU in bytes; by name, so only while in the namespace of this process.

        Raises:
            OSError: this namespace has no such interface.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            request = _IFREQ_INT.pack(self.name().encode(), 0)
            value: int = _IFREQ_INT.unpack(fcntl.ioctl(control, SIOCGIFMTU, request))[1]
        return value

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU in bytes; by name, so only while in the namespace of this process.

        Raises:
            ConfigError: the kernel refuses.
        """
        name = self.name()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                fcntl.ioctl(control, SIOCSIFMTU, _IFREQ_INT.pack(name.encode(), mtu))
        except (OSError, struct.error) as error:
            raise ConfigError(f"{name}: MTU {mtu} cannot be set: {error}") from None

    def fit(self, mtu: int) -> None:
        """Let the host make no super packet larger than one UDP send carries, if it lets us.

        One that needs a long and a tiny send costs the receiver, and doubles its ACKs. By name,
        so only while in the namespace of this process.
        """
        if self._header:
            with contextlib.suppress(OSError, EOFError):
                netlink.set_gso_max_size(socket.if_nametoindex(self.name()), burst_size(mtu))

    def is_up(self) -> bool:
        """Return whether the interface is up, in whatever namespace it is.

        The kernel calls a TUN descriptor writable only while the interface is up (Linux 5.1).
        A write of nothing cannot tell: it is EINVAL in both states.
        """
        return any(events & select.POLLOUT for _, events in self._poll.poll(0))

    def offload(self, *, tcp: bool, udp: bool) -> Offloads:
        """Take and give super packets from now on, as far as the kernel can; return what is.

        Without the header of `create` there is nothing to switch, and `udp` needs `tcp`.
        """
        if not self._header:
            return NO_OFFLOADS
        asked = [Offloads(tcp, udp), Offloads(tcp, udp=False)] if tcp else []
        for offloads in (*asked, NO_OFFLOADS):
            flags = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 if offloads.tcp else 0
            flags |= TUN_F_USO4 | TUN_F_USO6 if offloads.udp else 0
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._fd, TUNSETOFFLOAD, flags)
                return offloads
        return NO_OFFLOADS

    # hot path: bench/ports
    def receive(self, reads: int = READS) -> list[TunBurst]:
        """Return packets that the host wants sent, by `reads` reads at most.

        Raises:
            EOFError: the interface is gone for good. Being down is no error.
        """
        fd, read, memory = self._fd, os.readv, self._memory
        packets: list[TunBurst] = []
        append = packets.append
        headers, at = vnet.HEADER_SIZE if self._header else 0, 0
        try:
            for _ in range(reads):
                size = read(fd, [memory[at:]])
                packet = memory[at + headers : at + size]
                if headers:
                    append(vnet.decode_untrusted(bytes(memory[at : at + headers]), packet))
                else:
                    append(TunBurst(packet))
                at += size
                if at >= RECEIVE_SIZE:
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in GONE:
                raise EOFError("the TUN interface is gone") from None
            self.counters.read_errors += 1
        except Rejected:
            self.counters.read_errors += 1
        return packets

    # hot path: bench/ports
    def send(self, packets: Sequence[TunBurst]) -> None:
        """Hand packets to the host, in order; drop and count what it does not take."""
        fd, write = self._fd, os.write
        for burst in packets:
            packet = burst[0]
            try:
                if self._header:
                    pieces = packet if isinstance(packet, list) else [packet]
                    os.writev(fd, [vnet.encode(burst), *pieces])
                else:
                    write(fd, burst.whole())
            except OSError as error:
                self.counters.count(error.errno)

    def close(self) -> None:
        """Close the descriptor, and with it the interface unless it is persistent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _prepare(self, mtu: int) -> None:
        """Set the MTU, and let the host say nothing of its own in a tunnel that is new.

        Its router solicitations and multicast reports would have no peer, and a link-local
        address that nobody gave is in no peer's allowed IPs. The kernel's WireGuard has neither
        IFF_MULTICAST nor such an address. Where the host does not let us, these packets are
        dropped and counted. What somebody else made (it is persistent) stays as it is. Moved
        to another namespace, an interface begins with IPv6 anew, as that namespace has it.

        Raises:
            ConfigError: the kernel refuses the MTU.
        """
        name, flags = _name_and_flags(self._fd)
        if flags & IFF_PERSIST:
            self.set_mtu(mtu)
            return
        index = socket.if_nametoindex(name)
        with contextlib.suppress(OSError):
            netlink.clear_multicast(index)
        # A host that forwards has made it listen to the routers' group already; below IPv6's
        # least MTU it forgets that.
        self.set_mtu(_V6_MTU_LEAST - 1)
        self.set_mtu(mtu)
        with contextlib.suppress(OSError):
            netlink.generate_no_address(index)


def burst_size(mtu: int) -> int:
    """Return the gso_max_size at which a TCP super packet fills one UDP_SEGMENT send.

    The kernel takes a reserve for headers off it (MAX_TCP_HEADER, 320 bytes and less), and TCP
    over IPv4 with timestamps has 52 bytes of headers a segment.
    """
    segments = min(SEGMENTS_MAX, V6_MAX // (mtu + DATA_OVERHEAD))
    return min(GSO_MAX_SIZE, max(segments, 1) * (mtu - 52) + 400)


def check_name(name: str) -> None:
    """Refuse what the kernel takes for no interface name.

    Raises:
        UsageError: empty, over 15 bytes, `.`, `..`, or with a slash, colon or blank; or, which
            the kernel would take, no text.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # the command line had bytes that are no UTF-8
        raise UsageError(f"interface name {name!r} is no text in UTF-8") from None
    if not 1 <= size <= NAME_SIZE:
        raise UsageError(f"interface name {name!r} must have 1 to {NAME_SIZE} bytes")
    if name in (".", "..") or any(c in "/:\0" or c.isspace() for c in name):
        raise UsageError(f"interface name {name!r} may hold no slash, colon or blank")


def _name_and_flags(fd: int) -> tuple[str, int]:
    reply = fcntl.ioctl(fd, TUNGETIFF, bytes(_IFREQ_FLAGS.size))
    name, flags = _IFREQ_FLAGS.unpack(reply)
    return name.rstrip(b"\0").decode(), flags


def _open_patiently(name: str, *, header: bool) -> int:
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if header else 0)
    give_up_at = clock.now() + BUSY_PATIENCE
    while True:
        try:
            open_tun = _open_pytun if pytun is not None else _open_ioctl
            fd = open_tun(name, flags)
        except OSError as error:
            if error.errno != errno.EBUSY or clock.now() >= give_up_at:
                raise _refusal(name, error) from None
            select.poll().poll(BUSY_INTERVAL_MS)
        else:
            _set_flags(fd)
            return fd


def _set_flags(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


def _open_pytun(name: str, flags: int) -> int:
    """Open by python-pytun; the descriptor is duplicated since its own is not close-on-exec."""
    device = pytun.TunTapDevice(name=name, flags=flags)
    with contextlib.closing(device):
        return fcntl.fcntl(device.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)


def _open_ioctl(name: str, flags: int) -> int:
    fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, TUNSETIFF, _IFREQ_FLAGS.pack(name.encode(), flags))
    except OSError:
        os.close(fd)
        raise
    return fd


def _refusal(name: str, error: OSError) -> ConfigError:
    """Say in one line what to do."""
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return ConfigError(
            f"{DEVICE} is missing: modprobe tun; in a container: "
            "docker or podman run --device /dev/net/tun --cap-add NET_ADMIN"
        )
    if error.errno in (errno.EPERM, errno.EACCES):
        return ConfigError(
            f"{name}: no permission to create a TUN interface: needs CAP_NET_ADMIN; docker or "
            "podman run --cap-add NET_ADMIN --device /dev/net/tun, systemd: "
            "AmbientCapabilities=CAP_NET_ADMIN"
        )
    if error.errno == errno.EBUSY:
        return ConfigError(f"{name}: the interface is in use by another process")
    if error.errno == errno.EINVAL:
        return ConfigError(f"{name}: invalid name, or an interface of another kind has it")
    return ConfigError(f"{name}: cannot create a TUN interface: {error}")
