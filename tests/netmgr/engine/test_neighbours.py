"""Whom a node keeps a direct way to, in small networks and large ones."""

from collections.abc import Callable, Iterable

import pytest

from netmgr.engine.common import Context
from netmgr.engine.flood import Objects
from netmgr.engine.neighbours import (
    CUT_OFF,
    CUT_OFF_SILENT,
    ENOUGH,
    IN_VAIN,
    ON_LAN,
    SEEDS,
    SMALL,
    Neighbours,
    by_rank,
)
from netmgr.engine.remote import Remote
from netmgr.engine.signing import Identity, NetworkKeys, verify_untrusted
from netmgr.engine.trust import Trust
from netmgr.model import Candidate, Kind, NetworkFile, Settings
from netmgr.wire.objects import METERED, RELAYS, Record
from tests.sim.meshes import SHARED, SUBNET, static
from tests.sim.tunnel import v4
from wgpy.model import Endpoint, PublicKey, Secret

STATIC = [static(f"192.0.2.{number}", 50001, f"10.1.1.{number}") for number in range(1, 6)]


class Silent:
    """A channel of which nothing is asked."""

    def endpoint(self, public_key: PublicKey) -> Endpoint | None:
        raise AssertionError

    def traffic(self, public_key: PublicKey) -> tuple[int, int, float]:
        raise AssertionError

    def arrivals(self, public_key: PublicKey) -> tuple[int, int]:
        raise AssertionError

    def active(self) -> list[tuple[PublicKey, bool, bool]]:
        raise AssertionError


def surroundings(count: int, *, own: int = 200, metered: bool = False) -> Context:
    """Return those of a node that knows so many others, 10.1.1.1 and following."""
    network = NetworkFile(SHARED, SUBNET, tuple(STATIC))
    address = v4(f"10.1.1.{own}")
    settings = Settings(network, "own", address, "wg0", 50200, metered=metered)
    identity, keys = Identity(Secret(bytes([own]) * 32)), NetworkKeys(SHARED)
    objects = Objects(keys.net_id, verify_untrusted, identity.public)
    context = Context(settings, identity, keys, bytes, abs, Silent(), objects, Trust(SUBNET))
    for number in range(1, count + 1):
        add(context, number)
    return context


def add(context: Context, number: int, features: int = RELAYS) -> Remote:
    """Let another node be known, which is up at a place on the LAN."""
    remote = Remote(bytes([number]) * 32, bytes([number]) * 8, PublicKey(bytes(32)), 0.0)
    remote.record = Record(f"node{number}", v4(f"10.1.1.{number}"), features)
    context.remotes[remote.identity] = remote
    return remote


def let_answer(context: Context) -> None:
    """Let there be a direct way to all."""
    for remote in context.remotes.values():
        remote.take_up(Endpoint(bytes([192, 0, 2, remote.identity[0]]), 1), 0.0)


def everywhere(_: Remote) -> bool:
    return True


def nobody(_: Remote) -> bool:
    return False


def put(context: Context, numbers: Iterable[int], kind: Kind = Kind.OBSERVED) -> None:
    """Let nodes answer at a place."""
    for number in numbers:
        remote = context.remotes[bytes([number]) * 32]
        place = Endpoint(bytes([192, 168, 0, number]), 1)
        remote.offer([Candidate(place, kind)], 0.0)
        remote.take_up(place, 0.0)


def chosen(
    context: Context,
    has_way: Callable[[Remote], bool] = everywhere,
    is_cut_off: Callable[[Remote], bool] = nobody,
) -> set[int]:
    neighbours = Neighbours(context, has_way, is_cut_off)
    assert len(neighbours.choose()) == len(
        [one for one in context.remotes.values() if neighbours.wants(one)]
    )
    assert all(not one.up for one in neighbours.choose()), "their places may be new"
    found = [one for one in context.remotes.values() if neighbours.wants(one)]
    assert neighbours.lacks_some == any(not one.up for one in found)
    return {one.identity[0] for one in context.remotes.values() if neighbours.wants(one)}


def test_in_a_small_network_everybody_is():
    assert len(chosen(surroundings(SMALL - 1))) == SMALL - 1


def test_in_a_larger_one_some_by_rank_and_until_enough_of_them_answer_two_static_peers():
    context = surroundings(100)
    found = chosen(context)
    assert len(found & {1, 2, 3, 4, 5}) >= SEEDS
    assert len(found) <= SEEDS + by_rank(100)
    ranked = found - {1, 2, 3, 4, 5}
    put(context, sorted(ranked)[: ENOUGH - 1])
    assert chosen(context) == found
    put(context, sorted(ranked)[:ENOUGH])
    assert ranked <= chosen(context)
    assert len(chosen(context)) == by_rank(100)


def test_four_edges_in_a_row_lead_to_more_places_than_there_are_nodes():
    for nodes in range(SMALL, 20_000):
        degree = 1.4 * by_rank(nodes)
        assert degree * (degree - 1) ** 3 > 4 * nodes


def test_in_place_of_one_that_cannot_be_had_there_is_the_next():
    context = surroundings(100)
    put(context, range(1, 101))
    first = chosen(context)
    assert len(first) == by_rank(100)
    gone = context.remotes[bytes([min(first)]) * 32]
    gone.give_up(0.0)
    assert chosen(context) == first, "it has only just gone"
    without = chosen(context, lambda remote: remote is not gone)
    assert without > first, "it is still tried"
    assert len(without) == len(first) + 1
    for trial in gone.places.trials.values():
        trial.tries = IN_VAIN
    assert chosen(context) == without


def test_a_node_of_the_file_keeps_all_the_others_there():
    assert {2, 3, 4, 5} <= chosen(surroundings(100, own=1))


def test_those_on_the_lan_are_kept_up_to_a_number():
    context = surroundings(100)
    put(context, range(50, 80), Kind.LOCAL)
    found = chosen(context)
    assert ON_LAN <= len(found & set(range(50, 80))) <= ON_LAN + by_rank(100)


@pytest.mark.parametrize("count", [5, 100])
def test_who_pays_for_its_bytes_has_two(count):
    context = surroundings(count, metered=True)
    let_answer(context)
    found = chosen(context)
    assert len(found) == SEEDS
    assert found < {1, 2, 3, 4, 5}


def test_who_pays_has_another_for_each_of_the_two_that_does_not_answer():
    context = surroundings(100, metered=True)
    let_answer(context)
    first = chosen(context)
    silent = context.remotes[bytes([min(first)]) * 32]
    silent.give_up(1.0)
    assert len(chosen(context)) == SEEDS + 1
    assert chosen(context) > first


def test_who_pays_tries_others_in_place_of_those_that_were_tried_in_vain():
    context = surroundings(20, metered=True)
    put(context, range(1, 21))
    first = chosen(context)
    dead = set[int]()
    for _ in range(6):
        dead |= chosen(context)
        for number in dead:
            remote = context.remotes[bytes([number]) * 32]
            remote.give_up(1.0)
            for trial in remote.trials.values():
                trial.tries = IN_VAIN
    found = chosen(context)
    assert first < found
    assert len(found) == 2 * SEEDS
    assert len(found - dead) == SEEDS


def test_who_pays_prefers_who_relays_to_static_peers_that_do_not():
    context = surroundings(0, metered=True)
    for number in (1, 2):
        add(context, number, METERED)
    for number in (50, 51, 52):
        add(context, number)
    let_answer(context)
    assert chosen(context) < {50, 51, 52}


@pytest.mark.parametrize("metered", [False, True])
def test_to_whom_nobody_relays_a_direct_way_is_kept_within_bounds(metered):
    context = surroundings(0, metered=metered)
    for number in (1, 2):
        add(context, number)
    for number in range(50, 100):
        add(context, number, METERED)
    let_answer(context)

    def is_cut_off(remote: Remote) -> bool:
        return remote.identity[0] >= 50

    assert not chosen(context) & set(range(50, 100))
    assert len(chosen(context, everywhere, is_cut_off) & set(range(50, 100))) == CUT_OFF
    for number in range(50, 100):
        context.remotes[bytes([number]) * 32].give_up(1.0)
    found = chosen(context, everywhere, is_cut_off) & set(range(50, 100))
    assert len(found) == CUT_OFF_SILENT, "they have no place left that may answer"


def test_without_a_static_peer_it_has_two_others():
    context = surroundings(0, metered=True)
    for number in range(50, 70):
        add(context, number)
    let_answer(context)
    assert len(chosen(context)) == SEEDS


@pytest.mark.parametrize("count", [SMALL - 1, 20])
def test_nobody_chooses_who_pays_for_its_bytes(count):
    context = surroundings(0)
    for number in range(50, 50 + count):
        add(context, number, METERED)
    assert chosen(context) == set()


def test_who_pays_for_its_bytes_and_knows_only_such_has_two_of_them():
    context = surroundings(0, metered=True)
    for number in range(50, 53):
        add(context, number, METERED)
    let_answer(context)
    assert len(chosen(context)) == SEEDS


def test_the_rank_is_the_same_for_both_and_ranks_of_who_is_gone_are_forgotten():
    context = surroundings(100)
    neighbours = Neighbours(context, everywhere, nobody)
    neighbours.choose()
    for number in range(20, 101):
        del context.remotes[bytes([number]) * 32]
    neighbours.choose()
    assert len(neighbours._ranks) == len(context.remotes)  # noqa: SLF001
    assert len(neighbours._ranked) == len(context.remotes)  # noqa: SLF001
    assert not neighbours.lacks_some or neighbours.choose()
