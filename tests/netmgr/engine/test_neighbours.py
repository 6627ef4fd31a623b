"""Whom a node keeps a direct way to, in small networks and large ones."""

import pytest

from netmgr.engine.common import Context
from netmgr.engine.flood import Objects
from netmgr.engine.neighbours import BY_RANK, ON_LAN, SEEDS, SMALL, Neighbours
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


def chosen(context: Context) -> set[int]:
    neighbours = Neighbours(context)
    assert len(neighbours.choose()) == len(
        [one for one in context.remotes.values() if neighbours.wants(one)]
    )
    assert all(not one.up for one in neighbours.choose()), "their places may be new"
    return {one.identity[0] for one in context.remotes.values() if neighbours.wants(one)}


def test_in_a_small_network_everybody_is():
    assert len(chosen(surroundings(SMALL - 1))) == SMALL - 1


def test_in_a_larger_one_two_static_peers_and_three_by_rank():
    found = chosen(surroundings(100))
    assert len(found & {1, 2, 3, 4, 5}) >= SEEDS
    assert len(found) <= SEEDS + BY_RANK


def test_a_node_of_the_file_keeps_all_the_others_there():
    assert {2, 3, 4, 5} <= chosen(surroundings(100, own=1))


def test_those_on_the_lan_are_kept_up_to_a_number():
    context = surroundings(100)
    for number in range(50, 80):
        remote = context.remotes[bytes([number]) * 32]
        place = Endpoint(bytes([192, 168, 0, number]), 1)
        remote.offer([Candidate(place, Kind.LOCAL)], 0.0)
        remote.take_up(place, 0.0)
    found = chosen(context)
    assert ON_LAN <= len(found & set(range(50, 80))) <= ON_LAN + BY_RANK


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
    neighbours = Neighbours(context)
    neighbours.choose()
    for number in range(20, 101):
        del context.remotes[bytes([number]) * 32]
    neighbours.choose()
    assert len(neighbours._ranks) == len(context.remotes)  # noqa: SLF001
