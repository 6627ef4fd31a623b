"""The state directory on a real disk."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from netmgr.io.pins import BACKUP, PINS
from netmgr.io.pins import CORRUPT as PINS_CORRUPT
from netmgr.io.store import (
    CORRUPT,
    IDENTITY,
    LOCK,
    STATE,
    Store,
    default_directory,
    export_identity,
    import_identity,
    read_identity,
    remove_state,
)
from netmgr.wire.saved import Pin, Saved, format_pins, parse_saved
from wgpy.errors import ConfigError
from wgpy.model import Endpoint, Secret

ID = bytes(range(32))
SAVED = Saved(
    pins=(Pin("alice", b"\x0a\x01\x01\x02", ID, "met"),),
    objects=(b"signed",),
    places=((ID, (Endpoint(b"\xc0\x00\x02\x01", 50001),)),),
)
MORE = tuple(
    Pin(f"n{number}", bytes((10, 1, 2, number)), bytes([number]) * 32, "met")
    for number in range(5)
)
EVERYTHING = {IDENTITY, STATE, PINS, BACKUP, LOCK}
# Hands out numbers, each told before the next is taken, and writes in between.
CHILD = """
import sys
from netmgr.io.store import Store
from netmgr.wire.saved import Saved
with Store(sys.argv[1], print, {}) as store:
    big = Saved(objects=tuple(bytes([n % 256]) * 300 for n in range(500)))
    print("identity", store.identity.to_base64(), flush=True)
    while True:
        print("seq", store.reserve_seq(3), flush=True)
        store.save_soon(big)
"""


class Lines(list[str]):
    """Collects what a store says."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def said() -> Lines:
    return Lines()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a disk of a few pages at `path`."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_identity_and_state_outlive_a_restart(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        identity = store.identity
        assert store.identity_is_new
        assert store.saved == Saved()
        store.save(SAVED)
    with Store(str(place), said, {}) as store:
        assert store.identity == identity
        assert not store.identity_is_new
        assert store.saved == SAVED
    assert said == []


def test_what_is_written_is_private(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save(SAVED)
    assert place.stat().st_mode & 0o777 == 0o700
    for name in (IDENTITY, STATE, PINS, BACKUP, LOCK):
        assert (place / name).stat().st_mode & 0o777 == 0o600, name
    assert len(list(place.iterdir())) == 5


def test_networks_and_nodes_have_directories_of_their_own():
    expected = "/var/lib/wg_netmanager/0102030405060708/10.1.1.2"
    assert default_directory(bytes(range(1, 9)), b"\x0a\x01\x01\x02") == expected


def test_a_second_node_is_told_who_holds_the_directory(place: Path, said: Lines):
    held = pytest.raises(ConfigError, match=f"in use by the node with pid {os.getpid()}$")
    with Store(str(place), said, {}), held:
        Store(str(place), said, {})
    Store(str(place), said, {}).close()


def test_sequence_numbers_are_on_disk_before_they_are_handed_out(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        assert store.reserve_seq() == 1
        assert parse_saved((place / STATE).read_bytes()).seq == 1000
        assert store.reserve_seq(5) == 1001
        store.save(SAVED)
        assert store.reserve_seq(5) == 1006
    with Store(str(place), said, {}) as store:
        assert store.saved.seq == 1010
        assert store.reserve_seq() == 1011


def test_a_thread_writes_in_order_and_the_last_state_counts(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        first = store.reserve_soon(10)
        for number in range(50):
            store.save_soon(Saved(objects=(bytes([number]),)))
        second = store.reserve_soon(10)
        assert (first.result(), second.result(), store.reserve_seq()) == (1, 11, 21)
        store.save_soon(SAVED)
    saved = parse_saved((place / STATE).read_bytes())
    assert (saved.seq, saved.objects) == (1020, SAVED.objects)


def test_saving_in_the_thread_is_waited_for(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save_soon(Saved())
        store.save(SAVED)
        assert parse_saved((place / STATE).read_bytes()) == replace(SAVED, pins=())


@pytest.mark.slow
def test_a_kill_at_any_moment_repeats_no_number_and_keeps_the_identity(place: Path):
    argv = [sys.executable, "-c", CHILD, str(place)]
    identities, numbers = set(), []
    for count in (1, 2, 3, 5, 8, 13, 21, 34, 55):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(count):
                word, value = child.stdout.readline().split()
                if word == "identity":
                    identities.add(value)
                else:
                    numbers.append(int(value))
            child.send_signal(signal.SIGKILL)
            numbers += [int(line.split()[1]) for line in child.stdout if "seq" in line]
    assert len(identities) == 1
    used = [number + offset for number in numbers for offset in range(3)]
    assert len(used) == len(set(used))
    assert used == sorted(used)
    assert len(numbers) > 100
    # What a kill leaves of drafts hinders nobody.
    lines = Lines()
    Store(str(place), lines, {}).close()
    assert lines == []


@pytest.mark.parametrize("damage", ["", "{", '{"version": 9}', "\x00" * 4096])
def test_a_damaged_state_is_set_aside_in_one_line(place: Path, said: Lines, damage: str):
    with Store(str(place), said, {}) as store:
        identity = store.identity
        store.save(SAVED)
    (place / STATE).write_text(damage)
    with Store(str(place), said, {}) as store:
        assert store.saved == Saved(pins=SAVED.pins)
        assert store.identity == identity
    assert (place / CORRUPT).read_text() == damage
    assert len(said) == 1
    assert CORRUPT in said[0]
    assert "pins that are left: 1" in said[0]


def test_a_truncated_state_still_tells_its_sequence_number(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.reserve_seq()
        store.save(SAVED)
    os.truncate(place / STATE, 60)
    with Store(str(place), said, {}) as store:
        assert store.saved == Saved(1000, SAVED.pins)
        assert store.reserve_seq() == 1001


def pins_after(place: Path, said: Lines) -> tuple[Pin, ...]:
    """Return the pins that a node finds; see that the next one finds them without a word."""
    with Store(str(place), said, {}) as store:
        found = store.saved.pins
        store.reserve_seq()
    lines = Lines()
    with Store(str(place), lines, {}) as store:
        assert store.saved.pins == found
    assert lines == []
    return found


@pytest.mark.parametrize("damage", ["", "{", "?" * 4096, None])
@pytest.mark.parametrize("name", [PINS, BACKUP, STATE])
def test_no_pin_is_lost_with_any_one_file(
    place: Path, said: Lines, name: str, damage: str | None
):
    with Store(str(place), said, {}) as store:
        store.save(replace(SAVED, pins=MORE))
    if damage is None:
        (place / name).unlink()
    else:
        (place / name).write_text(damage)
    assert pins_after(place, said) == MORE
    expected = "5 pins are left" if name == PINS else "pins that are left: 5"
    assert all(expected in line for line in said)
    assert len(said) == (name == PINS or (name == STATE and damage is not None))
    assert {each.name for each in place.iterdir()} - {CORRUPT} == EVERYTHING


def test_of_two_damaged_files_all_pins_are_read_that_one_still_has(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save(replace(SAVED, pins=MORE))
    whole = (place / PINS).read_bytes()
    damaged = whole.replace(b'"n1"', b'"x1"').replace(b'"n4"', b'"x4"')
    (place / PINS).write_bytes(damaged)
    (place / BACKUP).write_bytes(whole[: whole.index(b'"n3"')])
    assert pins_after(place, said) == (MORE[0], MORE[2], MORE[3], MORE[1])
    assert len(said) == 1
    assert "pins were lost, 4 pins are left" in said[0]
    assert (place / PINS_CORRUPT).read_bytes() == damaged


def test_where_two_damaged_files_disagree_the_newer_one_counts(place: Path, said: Lines):
    Store(str(place), said, {}).close()
    old = (MORE[0], MORE[1]._replace(name="n2"), MORE[3])
    (place / PINS).write_bytes(format_pins(MORE[1:3]) + b"?")
    (place / BACKUP).write_bytes(format_pins(old) + b"?")
    assert pins_after(place, said) == (MORE[1], MORE[2], MORE[0], MORE[3])


def test_pins_that_a_state_of_old_holds_are_taken_over_once(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save(SAVED)
    old = json.loads((place / PINS).read_text())["pins"]
    state = json.dumps({**json.loads((place / STATE).read_text()), "pins": old})
    (place / STATE).write_text(state)
    for name in (PINS, BACKUP):
        (place / name).unlink()
    assert pins_after(place, said) == SAVED.pins
    with Store(str(place), said, {}) as store:
        store.save(replace(SAVED, pins=()))
    (place / STATE).write_text(state)
    assert pins_after(place, said) == ()
    assert said == []


def test_pins_are_written_only_where_they_change(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save(SAVED)
        before = (place / PINS).stat().st_ino
        store.reserve_seq()
        store.save(SAVED)
        assert (place / PINS).stat().st_ino == before
        store.save(replace(SAVED, pins=MORE))
        assert (place / PINS).stat().st_ino != before


def test_a_damaged_identity_is_never_replaced(place: Path, said: Lines):
    Store(str(place), said, {}).close()
    (place / IDENTITY).write_text("?")
    with pytest.raises(ConfigError, match="holds no identity"):
        Store(str(place), said, {})
    assert (place / IDENTITY).read_text() == "?"


def test_an_open_identity_is_warned_about(place: Path, said: Lines):
    Store(str(place), said, {}).close()
    (place / IDENTITY).chmod(0o644)
    Store(str(place), said, {}).close()
    assert len(said) == 1
    assert "chmod 600" in said[0]


def test_a_lost_identity_of_a_known_node_is_one_line(place: Path, said: Lines):
    with Store(str(place), said, {}) as store:
        store.save(SAVED)
    (place / IDENTITY).unlink()
    with Store(str(place), said, {}) as store:
        assert store.identity_is_new
    assert len(said) == 1
    assert "accepts it" in said[0]


def test_an_identity_may_come_from_the_environment(place: Path, tmp_path: Path, said: Lines):
    given = Secret(ID)
    with Store(str(place), said, {"NETMGR_IDENTITY": given.to_base64()}) as store:
        assert (store.identity, store.identity_is_new) == (given, False)
    export_identity(given, str(tmp_path / "key"))
    with Store(str(place), said, {"NETMGR_IDENTITY": str(tmp_path / "key")}) as store:
        assert store.identity == given
    assert not (place / IDENTITY).exists()
    with pytest.raises(ConfigError) as caught:
        Store(str(place), said, {"NETMGR_IDENTITY": "nonsense"})
    assert "nonsense" not in str(caught.value)
    Store(str(place), said, {}).close()


def test_an_identity_moves_to_another_machine(place: Path, tmp_path: Path, said: Lines):
    file = str(tmp_path / "exported")
    with Store(str(place), said, {}) as store:
        identity = store.identity
        export_identity(identity, file)
        with pytest.raises(ConfigError, match="exists"):
            export_identity(identity, file)
        with pytest.raises(ConfigError, match="in use"):
            import_identity(file, str(place))
    assert os.stat(file).st_mode & 0o777 == 0o600
    new = str(tmp_path / "new")
    import_identity(file, new)
    import_identity(file, new)
    assert read_identity(os.path.join(new, IDENTITY), said) == identity
    Store(str(tmp_path / "third"), said, {}).close()
    with pytest.raises(ConfigError, match="another identity"):
        import_identity(file, str(tmp_path / "third"))
    with pytest.raises(ConfigError, match="no such file"):
        import_identity(str(tmp_path / "nothing"), new)


def test_purge_leaves_nothing_but_what_is_not_ours(place: Path, said: Lines):
    store = Store(str(place), said, {})
    store.save_soon(SAVED)
    store.close()
    assert {Path(each).name for each in remove_state(str(place))} == EVERYTHING
    assert not place.exists()
    Store(str(place), said, {}).close()
    (place / "notes").touch()
    remove_state(str(place))
    assert [each.name for each in place.iterdir()] == ["notes"]
    Store(str(place), said, {}).close()


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, said: Lines):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        Store(str(tmp_path / "file" / "state"), said, {})


@pytest.mark.root
def test_a_full_disk_is_told_once_and_the_node_goes_on(tmp_path: Path, said: Lines):
    disk = tmp_path / "disk"
    with small_disk(disk), Store(str(disk / "state"), said, {}) as store:
        store.reserve_seq()
        huge = Saved(objects=(bytes(100_000),))
        store.save(huge)
        store.save(huge)
        assert store.reserve_seq() == 1001
        assert len(said) == 1
        assert "No space left" in said[0]
        # The old state is whole; once there is room again, everything is kept.
        assert parse_saved((disk / "state" / STATE).read_bytes()).seq == 1000
        store.save(SAVED)
        assert parse_saved((disk / "state" / STATE).read_bytes()).seq == 2000
        store.save(huge)
        assert len(said) == 2


@pytest.mark.root
def test_a_read_only_disk_is_told_once_and_the_node_goes_on(tmp_path: Path, said: Lines):
    disk = tmp_path / "disk"
    with small_disk(disk):
        Store(str(disk / "old"), said, {}).close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with Store(str(disk / "old"), said, {}) as store:
            assert not store.identity_is_new
            assert store.reserve_seq() == 1
            assert store.reserve_seq() == 1001
            store.save(SAVED)
        (line,) = said
        assert "Read-only" in line
        # Each start would be a stranger with the name of the last.
        with pytest.raises(ConfigError, match="NETMGR_IDENTITY holds one"):
            Store(str(disk / "new"), said, {})


def test_many_nodes_start_at_once_and_one_wins(place: Path, said: Lines):
    held: list[Store] = []
    refused: list[str] = []

    def start() -> None:
        try:
            held.append(Store(str(place), said, {}))
        except ConfigError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    held[0].close()
