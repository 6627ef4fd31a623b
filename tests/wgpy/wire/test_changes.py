"""What a reload would change in a device, line by line."""

import pytest

from wgpy.model import (
    NO_KEY,
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    PeerStatus,
    PublicKey,
    Secret,
)
from wgpy.wire.changes import differences
from wgpy.wire.text import parse_address, parse_prefix

OLD, NEW = PublicKey(b"\1" * 32), PublicKey(b"\2" * 32)
SECRET = Secret(b"\3" * 32)
HERE = Endpoint(parse_address("192.0.2.1"), 5)
THERE = Endpoint(parse_address("2001:db8::1"), 6)


def blocks(*texts: str) -> tuple[AllowedIPChange, ...]:
    return tuple(AllowedIPChange(parse_prefix(each)) for each in texts)


def status(endpoint: Endpoint | None = None) -> DeviceStatus:
    allowed = tuple(map(parse_prefix, ("10.8.0.0/24", "10.9.0.0/24")))
    peer = PeerStatus(OLD, NO_KEY, endpoint, 0.0, 0, 0, 25, allowed)
    return DeviceStatus(None, None, listen_port=35000, fwmark=1, peers=(peer,))


def lines(*peers: PeerChange, endpoint: Endpoint | None = None) -> list[str]:
    return list(differences(DeviceChange(peers=peers), status(endpoint)))


def test_fields_of_the_device_are_told_without_the_key():
    change = DeviceChange(private_key=SECRET, listen_port=51877, fwmark=0)
    assert list(differences(change, status())) == [
        "private key changes",
        "listen port 35000 -> 51877",
        "fwmark 0x1 -> 0x0",
    ]
    assert list(differences(DeviceChange(), status())) == []


def test_a_peer_that_goes_is_one_line():
    assert lines(PeerChange(OLD, remove=True)) == [f"- peer {OLD.short}"]


def test_a_new_peer_is_told_with_what_it_has():
    bare = PeerChange(NEW)
    whole = PeerChange(NEW, preshared_key=SECRET, endpoint=THERE, persistent_keepalive=9)
    assert lines(bare) == [f"+ peer {NEW.short}"]
    assert lines(whole) == [
        f"+ peer {NEW.short}: preshared key, endpoint [2001:db8::1]:6, persistent keepalive 9"
    ]
    assert lines(PeerChange(NEW, allowed_ips=blocks("10.0.0.0/8", "fd00::/8"))) == [
        f"+ peer {NEW.short}: allowed ips 10.0.0.0/8 fd00::/8"
    ]


def test_of_a_peer_that_stays_only_differences_are_told():
    allowed = blocks("10.77.0.0/24", "10.9.0.0/24")
    assert lines(PeerChange(OLD, replace_allowed_ips=True, allowed_ips=allowed)) == [
        f"peer {OLD.short}: allowed ips +10.77.0.0/24 -10.8.0.0/24"
    ]
    assert lines(PeerChange(OLD, preshared_key=SECRET, persistent_keepalive=0)) == [
        f"peer {OLD.short}: preshared key changes, persistent keepalive 25 -> 0"
    ]


@pytest.mark.parametrize(("before", "text"), [(HERE, "192.0.2.1:5"), (None, "none")])
def test_an_endpoint_is_told_before_and_after(before: Endpoint | None, text: str):
    assert lines(PeerChange(OLD, endpoint=THERE), endpoint=before) == [
        f"peer {OLD.short}: endpoint {text} -> [2001:db8::1]:6"
    ]
