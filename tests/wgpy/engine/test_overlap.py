import pytest

from wgpy.engine.overlap import shared, taken
from wgpy.hostmodel import HostState, Wanted
from wgpy.model import DeviceChange, InterfaceAddress
from wgpy.wire.text import parse_interface_address


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
