"""A Linux kernel with its WireGuard module, and the small root file system it boots into.

The kernel is the one of Debian's package linux-image-cloud-amd64, unpacked into the cache and
never installed. The root file system is made of busybox, `wg` and the modules it takes.
"""

import gzip
import lzma
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.cache import cache
from tests.lab import LabError, command

PACKAGE = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_net", "virtio_rng", "virtio_console", "wireguard")
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
umask 077
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
for module in $(cat /modules); do insmod /modules.d/$module; done
life=$(sed 's/.*life=\\([0-9]*\\).*/\\1/' /proc/cmdline)
(sleep $life; poweroff -f) &
ip link set lo up
until [ -c /dev/vport*p1 ]; do sleep 0.05; done
exec 3<>$(echo /dev/vport*p1)
echo "ready $(uname -r)" >&3
while :; do
  read -r number script <&3 || { sleep 0.1; continue; }
  echo "$script" | base64 -d >/tmp/script
  sh /tmp/script >/tmp/out 2>&1 </dev/null 3>&-
  code=$?
  base64 /tmp/out >&3
  echo "end $number $code" >&3
done
poweroff -f
"""


def find() -> Path | None:
    """Return the folder of the unpacked kernel package, None if it is not here."""
    target = cache() / "kernel"
    return target if target.exists() else None


def fetch() -> Path:
    """Return the folder of the unpacked kernel package, downloaded by apt if it is not here.

    Raises:
        LabError: apt does not know the package, or it lacks a part.
    """
    if found := find():
        return found
    target = cache() / "kernel"
    known = command(["apt-cache", "depends", PACKAGE]).stdout
    image = re.search(r"Depends: (linux-image-\S+)", known)
    if image is None:
        raise LabError(f"apt knows no {PACKAGE}: run apt-get update")
    with tempfile.TemporaryDirectory(dir=cache(), prefix="build-") as folder:
        place = Path(folder)
        download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", image[1]]
        command(["env", "-C", folder, *download], timeout=300)
        command(["dpkg-deb", "-x", next(place.glob("*.deb")), place / "tree"], timeout=120)
        (place / "tree").rename(target)
    return target


def kernel() -> Path:
    """Return the kernel's boot image."""
    return next((fetch() / "boot").glob("vmlinuz-*"))


def initramfs(programs: Iterable[str] = ("wg",)) -> bytes:
    """Return a root file system with busybox, some programs of this machine and WireGuard."""
    files: dict[str, tuple[int, bytes]] = {"init": (0o100755, INIT.encode())}
    for name in ("busybox", *programs):
        for place, path in _with_libraries(name).items():
            files[place] = (0o100755, path.read_bytes())
    order = _load_order(MODULES)
    for name, path in order:
        files[f"modules.d/{name}"] = (0o100644, _plain(path))
    files["modules"] = (0o100644, "\n".join(name for name, _ in order).encode())
    folders = {"proc", "sys", "dev", "tmp", "run", "etc"}
    folders |= {str(up) for name in files for up in Path(name).parents if str(up) != "."}
    entries = dict.fromkeys(sorted(folders), (0o040755, b""))
    return gzip.compress(_cpio({**entries, **files}), 1)


def _with_libraries(name: str) -> dict[str, Path]:
    program = shutil.which(name)
    if program is None:
        raise LabError(f"{name} is not on PATH")
    listed = command(["ldd", program], check=False).stdout
    libraries = re.findall(r"(/\S+) \(0x", listed)
    places = {path.lstrip("/"): Path(path) for path in libraries}
    return {f"bin/{name}": Path(program), **places}


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".zst":
        with tempfile.NamedTemporaryFile() as plain:
            command(["zstd", "-q", "-d", "-f", path, "-o", plain.name])
            return Path(plain.name).read_bytes()
    return content


def _load_order(wanted: Iterable[str]) -> list[tuple[str, Path]]:
    """Return the modules with all they depend on, each after what it needs."""
    base = next((fetch() / "lib/modules").iterdir(), None) or fetch() / "usr/lib/modules"
    found = {_name(path.name): path for path in base.rglob("*.ko*")}
    builtin = {
        _name(Path(line).name) for line in (base / "modules.builtin").read_text().split()
    }
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        if name in order or name in builtin:
            return
        if name not in found:
            raise LabError(f"the kernel package has no module {name}")
        needs = re.search(rb"\0depends=([^\0]*)\0", _plain(found[name]))
        for need in (needs[1].decode() if needs else "").split(","):
            if need:
                add(_name(need))
        order[name] = found[name]

    for name in wanted:
        add(name)
    return list(order.items())


def _name(file: str) -> str:
    return file.split(".ko")[0].replace("-", "_")


def _cpio(entries: dict[str, tuple[int, bytes]]) -> bytes:
    """Return an archive in the format "newc", the kernel's for a root file system."""
    out = bytearray()
    for number, (name, (mode, content)) in enumerate(
        [*entries.items(), ("TRAILER!!!", (0, b""))], 1
    ):
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)
