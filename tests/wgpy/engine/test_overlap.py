import pytest

from wgpy.engine.crypto import public_key
from wgpy.engine.overlap import doubtful, shared, taken
from wgpy.hostmodel import HostState, Routing, Wanted
from wgpy.model import (
    NO_KEY,
    AllowedIPChange,
    DeviceChange,
    Endpoint,
    InterfaceAddress,
    PeerChange,
    PublicKey,
    Secret,
)
from wgpy.wire.text import parse_address, parse_interface_address, parse_prefix


def clash(ours: str, theirs: str) -> tuple[list[str], list[str]]:
    wanted = Wanted("wg0", DeviceChange(), addresses=(parse_interface_address(ours),))
    present = HostState(neighbours=(("eth0", parse_interface_address(theirs)),))
    return list(taken(wanted, present)), list(shared(wanted, present))


def test_an_address_of_another_interface_is_taken():
    (line,), _ = clash("10.0.0.1/24", "10.0.0.1/16")
    assert line == "address 10.0.0.1/24 is taken: eth0 has 10.0.0.1/16"


@pytest.mark.parametrize("theirs", ["10.0.0.1/24", "10.0.0.1/8", "10.0.0.9/32"])
def test_subnets_that_hold_one_another_are_shared(theirs):
    assert clash("10.0.0.7/24", theirs)[1] == [
        f"10.0.0.7/24 overlaps {theirs} of eth0: what is meant for one may go to the other"
    ]


@pytest.mark.parametrize("theirs", ["10.0.1.1/24", "fd00::1/8", "192.168.0.1/16"])
def test_other_subnets_are_fine(theirs):
    assert clash("10.0.0.7/24", theirs) == ([], [])


def test_an_interface_without_addresses_clashes_with_nothing():
    present = HostState(neighbours=(("eth0", InterfaceAddress(bytes(4), 0)),))
    assert list(shared(Wanted("wg0", DeviceChange()), present)) == []


SECRET = Secret(bytes(range(32)))
KEYS = [PublicKey(bytes([n]) * 32) for n in (1, 2)]


def peer(key: PublicKey, allowed: str = "", endpoint: str = "") -> PeerChange:
    return PeerChange(
        key,
        endpoint=Endpoint(parse_address(endpoint), 1) if endpoint else None,
        allowed_ips=tuple(AllowedIPChange(parse_prefix(each)) for each in allowed.split()),
    )


def doubts(*peers: PeerChange, table: Routing | int = Routing.AUTO) -> list[str]:
    device = DeviceChange(private_key=SECRET, peers=peers)
    return list(doubtful(Wanted("wg0", device, table=table)))


def test_an_empty_file_is_one_doubt():
    (line,) = doubtful(Wanted("wg0", DeviceChange(private_key=NO_KEY, listen_port=0)))
    assert "says nothing" in line


def test_a_file_without_private_key_is_doubtful():
    (line,) = doubtful(Wanted("wg0", DeviceChange(peers=(peer(KEYS[0]),))))
    assert "no PrivateKey" in line


def test_a_peer_with_the_own_key_is_doubtful():
    (line,) = doubts(peer(public_key(SECRET)), peer(KEYS[0]))
    assert "has the key of this interface" in line


def test_prefixes_of_two_peers_are_doubtful():
    (line,) = doubts(peer(KEYS[0], "10.0.0.0/24 fd00::/64"), peer(KEYS[1], "10.0.0.0/24"))
    assert line == (
        f"allowed ips 10.0.0.0/24 are those of peer {KEYS[0].short} and of peer "
        f"{KEYS[1].short}: the later has them"
    )
    twice = peer(KEYS[0], "10.0.0.0/24 10.0.0.0/24")
    taken_away = PeerChange(
        KEYS[1], allowed_ips=(AllowedIPChange(parse_prefix("10.0.0.0/24"), remove=True),)
    )
    assert doubts(twice, taken_away) == []


@pytest.mark.parametrize(
    "allowed", ["192.0.2.0/24", "0.0.0.0/0 192.0.2.9/32", "0.0.0.0/1 128.0.0.0/1"]
)
def test_an_endpoint_inside_the_tunnel_is_doubtful(allowed: str):
    (line,) = doubts(peer(KEYS[0], allowed, "192.0.2.9"))
    assert "192.0.2.9" in line
    assert "tunnel itself" in line
    assert doubts(peer(KEYS[0], allowed, "192.0.2.9"), table=Routing.OFF) == []


@pytest.mark.parametrize("allowed", ["0.0.0.0/0 ::/0", "192.0.3.0/24", "fd00::/120", ""])
def test_an_endpoint_outside_or_in_a_default_route_is_fine(allowed: str):
    assert doubts(peer(KEYS[0], allowed, "192.0.2.9"), peer(KEYS[1])) == []
