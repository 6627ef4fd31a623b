"""/etc/resolv.conf where it is no plain file of a disk with room."""

import sys
from pathlib import Path

import pytest

from tests.lab import Done, Lab

pytestmark = [pytest.mark.root, pytest.mark.needs("unshare")]

ROOT = Path(__file__).parents[3]
OLD = "nameserver 192.0.2.53\n"
PROGRAM = """
import sys
from wgpy.hostmodel import DnsBackend, SetDns
from wgpy.io import dns_linux
search = tuple(f"d{number}.example.org" for number in range(int(sys.argv[2])))
change = SetDns("wg0", ("192.0.2.99",), search, DnsBackend.FILE, sys.argv[3])
{"set": dns_linux.set_dns, "unset": dns_linux.unset_dns}[sys.argv[1]](change)
"""
# A file mounted on its own in an /etc that nobody can write, as by docker run --read-only.
READ_ONLY = "touch {etc}/resolv.conf; {bind}; mount --bind {file} /etc/resolv.conf; {lock}"
# The file is a link into a file system that has no room left.
FULL = (
    "mount -t tmpfs -o size=64k tmpfs {full}; cp {file} {full}/resolv.conf; "
    "ln -sf {full}/resolv.conf {etc}/resolv.conf; {bind}; dd if=/dev/zero of={full}/rest 2>&-"
)


class Place:
    """A folder that programs find as /etc, and the resolv.conf in it."""

    def __init__(self, lab: Lab, folder: Path, mounts: str) -> None:
        self.lab, self.file = lab, folder / "resolv.conf"
        self.file.write_text(OLD)
        (folder / "etc").mkdir()
        (folder / "full").mkdir()
        self.mounts = mounts.format(
            etc=folder / "etc",
            full=folder / "full",
            file=self.file,
            bind=f"mount --bind {folder}/etc /etc",
            lock="mount -o remount,bind,ro /etc",
        )

    def run(self, *verbs: str, search: int = 1) -> Done:
        """Run the calls one after the other; the output is what /etc and its file are then."""
        call = f'{sys.executable} -c "$1" {{}} {search} "$2"'
        script = "; ".join((
            *(self.mounts, *map(call.format, verbs), "cat /etc/resolv.conf"),
            'ls -A "$(dirname "$(readlink -f /etc/resolv.conf)")" >&2',
        ))  # fmt: skip
        words = ("unshare", "--mount", "sh", "-c", script, "sh", PROGRAM, OLD)
        return self.lab.run(None, *words, check=False, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("mounts", [READ_ONLY, FULL], ids=["read_only", "full"])
def test_a_file_that_cannot_be_replaced_is_written_in_place(
    lab: Lab, tmp_path: Path, mounts: str
):
    place = Place(lab, tmp_path, mounts)
    done = place.run("set")
    assert "nameserver 192.0.2.99\nsearch d0.example.org\n" in done.stdout
    assert ".wgpy" not in done.stderr
    assert "Error" not in done.stderr
    assert place.run("set", "unset").stdout == OLD


def test_a_file_without_room_for_the_new_text_keeps_the_old_one(lab: Lab, tmp_path: Path):
    done = Place(lab, tmp_path, FULL).run("set", search=1000)
    assert "No space left on device" in done.stderr
    assert done.stdout == OLD
    assert sorted(done.stderr.splitlines()[-2:]) == ["resolv.conf", "rest"]


def test_a_file_that_is_replaced_keeps_its_mode(lab: Lab, tmp_path: Path):
    place = Place(lab, tmp_path, "cp {file} {etc}; chmod 604 {etc}/resolv.conf; {bind}")
    assert "192.0.2.99" in place.run("set").stdout
    assert (tmp_path / "etc" / "resolv.conf").stat().st_mode & 0o777 == 0o604
    assert [each.name for each in (tmp_path / "etc").iterdir()] == ["resolv.conf"]


def test_where_there_is_none_one_is_made_if_it_can_be(lab: Lab, tmp_path: Path):
    assert "192.0.2.99" in Place(lab, tmp_path, "{bind}").run("set").stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    done = Place(lab, empty, "{bind}; {lock}").run("set")
    assert "Read-only file system" in done.stderr
