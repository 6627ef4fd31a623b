"""The WireGuard of the Linux kernel as a peer: a small machine emulated by qemu."""

import base64
import platform
import re
import shlex
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import pytest

from tests import kernel_image
from tests.lab import Child, Lab, LabError, wait_until
from wgpy.io import clock

QEMU = "qemu-system-x86_64"
NEEDS = (QEMU, "busybox", "wg", "ldd", "dpkg-deb")
USER_GUEST = ("10.0.2.15/24", "fec0::15/64")


def require() -> None:
    """Skip the test that asks if the machine cannot be made here."""
    if platform.machine() != "x86_64":
        pytest.skip("needs x86_64 for Debian's linux-image-cloud-amd64")
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} on PATH")
    try:
        kernel_image.fetch()
    except (LabError, OSError) as failure:
        pytest.skip(f"needs {kernel_image.PACKAGE}: {failure}")


class KernelVm:
    """A running Linux with WireGuard; `run` gives it commands.

    Made by `user` or `wired`, and used as a context manager. It ends with its lab at the
    latest, and by itself after `life` seconds.
    """

    def __init__(
        self,
        lab: Lab,
        ns: str | None,
        network: Sequence[str],
        *,
        programs: Iterable[str] = (),
        life: int = 300,
    ):
        require()
        number = lab.directory / f"vm{len(lab.children)}"
        self.console = number.with_suffix(".console")
        image, path = number.with_suffix(".cpio.gz"), number.with_suffix(".sock")
        image.write_bytes(kernel_image.initramfs(("wg", *programs)))
        append = f"console=ttyS0 quiet panic=-1 random.trust_cpu=on life={life}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(20)
            self.child: Child = lab.spawn(
                *(ns, QEMU, "-accel", "tcg", "-cpu", "max", "-m", 256, "-nodefaults"),
                *("-no-reboot", "-display", "none", "-serial", f"file:{self.console}"),
                *("-kernel", kernel_image.kernel(), "-initrd", image, "-append", append),
                *(
                    "-device",
                    "virtio-rng-pci",
                    *network,
                    "-device",
                    "virtio-net-pci,netdev=n,romfile=",
                ),
                *("-device", "virtio-serial-pci", "-chardev", f"socket,id=c,path={path}"),
                *("-device", "virtserialport,chardev=c"),
            )
            wait_until(lambda: path.exists() or not self.child.alive, 5, "qemu")
            try:
                self.line, _ = listener.accept()
            except TimeoutError as expired:
                raise LabError(f"qemu does not start:\n{self.child.log()}") from expired
        self.received = b""
        self.number = 0
        try:
            self.release = self._read_until(rb"ready (\S+)\n", 60)[1].decode()
        except LabError:
            self.close()
            raise

    @classmethod
    def user(
        cls,
        lab: Lab,
        ns: str | None = None,
        *,
        forward: Mapping[int, int] | None = None,
        programs: Iterable[str] = (),
    ) -> Self:
        """Boot a machine behind qemu's own NAT, which needs no root.

        The guest is 10.0.2.15 and fec0::15; it reaches 127.0.0.1 of `ns` as 10.0.2.2 and ::1 of
        `ns` as fec0::2.

        Args:
            lab: what ends it.
            ns: the namespace qemu runs in.
            forward: ports of 127.0.0.1 in `ns` to UDP ports of the guest (IPv4 alone).
            programs: of this machine, to have in the guest's /bin; busybox's own of the same
                name goes before them unless they are called by their path.
        """
        rules = [f",hostfwd=udp:127.0.0.1:{a}-:{b}" for a, b in (forward or {}).items()]
        vm = cls(lab, ns, ["-netdev", f"user,id=n{''.join(rules)}"], programs=programs)
        vm.address("eth0", *USER_GUEST)
        vm.run("ip route add default via 10.0.2.2")
        return vm

    @classmethod
    def wired(
        cls,
        lab: Lab,
        ns: str,
        host_addresses: Iterable[str] = ("192.0.2.1/24", "2001:db8::1/64"),
        guest_addresses: Iterable[str] = ("192.0.2.2/24", "2001:db8::2/64"),
        *,
        programs: Iterable[str] = (),
        life: int = 300,
    ) -> Self:
        """Boot a machine joined to a namespace by a cable, both families and all protocols."""
        tap = lab.ifname()
        lab.ip(ns, "tuntap", "add", "dev", tap, "mode", "tap")
        lab.address(ns, tap, *host_addresses)
        net = f"tap,id=n,ifname={tap},script=no,downscript=no"
        vm = cls(lab, ns, ["-netdev", net], programs=programs, life=life)
        vm.address("eth0", *guest_addresses)
        return vm

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch the machine off."""
        self.line.close()
        self.child.stop()

    def run(self, script: str, *, timeout: float = 30, check: bool = True) -> str:
        """Run a shell script in the guest and return what it prints, stderr included.

        Raises:
            LabError: it ended with another code than 0 (when `check`), or not in time.
        """
        self.number += 1
        encoded = base64.b64encode(script.encode()).decode()
        self.line.settimeout(timeout)
        self.line.sendall(f"{self.number} {encoded}\n".encode())
        match = self._read_until(rb"([\w+/=\n]*?)end (\d+) (\d+)\n", timeout)
        said, code = base64.b64decode(match[1]).decode(errors="replace"), int(match[3])
        if check and code != 0:
            raise LabError(f"in the guest: {script}: {code}\n{said}")
        return said

    def write(self, path: str, text: str) -> None:
        """Put a file into the guest."""
        encoded = base64.b64encode(text.encode()).decode()
        self.run(f"echo {encoded} | base64 -d > {shlex.quote(path)}")

    def address(self, interface: str, *addresses: str) -> None:
        """Give an interface of the guest its addresses and set it up."""
        for address in addresses:
            self.run(f"ip address add {address} dev {interface}")
        self.run(f"ip link set {interface} up")

    def wireguard(self, interface: str, configuration: str, *addresses: str) -> None:
        """Make a WireGuard interface in the guest from the format of `wg setconf`."""
        self.run(f"ip link add {interface} type wireguard")
        self.write(f"/etc/{interface}.conf", configuration)
        self.run(f"wg setconf {interface} /etc/{interface}.conf")
        self.address(interface, *addresses)

    def wg(self, words: str) -> str:
        """Return what `wg` prints in the guest: `vm.wg("show wg0 transfer")`."""
        return self.run(f"wg {words}")

    def ping(self, ip: str, count: int = 3, *, options: str = "") -> int:
        """Return how many of `count` pings of the guest, one a second, were answered."""
        line = f"ping -q -c {count} -W 1 {options} {ip}"
        said = self.run(line, timeout=2 * count + 20, check=False)
        match = re.search(r"transmitted, (\d+) ", said)
        if match is None:
            raise LabError(f"in the guest: {line}: {said}")
        return int(match[1])

    def _read_until(self, pattern: bytes, timeout: float) -> re.Match[bytes]:
        deadline = clock.now() + timeout
        while (match := re.search(pattern, self.received)) is None:
            self.line.settimeout(max(0.01, deadline - clock.now()))
            try:
                piece = self.line.recv(65536)
            except TimeoutError:
                piece = b""
            if not piece:
                said = self.console.read_text(errors="replace")[-3000:]
                raise LabError(f"no answer of the guest in {timeout:g} s; console:\n{said}")
            self.received += piece
        self.received = self.received[match.end() :]
        return match


def main() -> None:
    """Boot one and show how long it took; for a look by hand."""
    start = clock.now()
    with Lab() as lab, KernelVm.user(lab) as vm:
        print(f"{vm.release} after {clock.now() - start:.1f} s")
        print(vm.run("wg genkey; ip address; lsmod"))


if __name__ == "__main__":
    main()
