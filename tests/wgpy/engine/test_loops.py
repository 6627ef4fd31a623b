"""Datagrams of ours that come back on the side of the host."""

import struct
from itertools import count

import pytest

from wgpy.engine.crypto import clamp, public_key
from wgpy.engine.device import Device
from wgpy.errors import Drop
from wgpy.model import (
    AllowedIPChange,
    Burst,
    DeviceChange,
    Endpoint,
    PeerChange,
    Prefix,
    Secret,
    TunBurst,
)

SECRETS = [clamp(Secret(bytes([number]) * 32)) for number in (1, 2)]
KEYS = [public_key(secret) for secret in SECRETS]
HOSTS = [b"\x0a\0\0\1", b"\x0a\0\0\2"]
ENDPOINTS = [Endpoint(host, 51820) for host in HOSTS]
NOW = 1000.0


def device(this: int, other: int) -> Device:
    """Return a device that sends everything to the other one."""
    numbers = count(this)
    made = Device(lambda size: bytes([next(numbers) % 256]) * size, 1e9)
    peer = PeerChange(
        KEYS[other],
        endpoint=ENDPOINTS[other],
        allowed_ips=(AllowedIPChange(Prefix(bytes(4), 0)),),
    )
    made.configure(DeviceChange(SECRETS[this], 51820, peers=(peer,)), NOW)
    made.set_up(NOW, up=True)
    return made


def packet(payload: bytes, destination: bytes = HOSTS[1], protocol: int = 17) -> TunBurst:
    size = 28 + len(payload)
    header = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, protocol, 0)
    ports = struct.pack(">HHHH", 51820, 51820, size - 20, 0)
    return TunBurst(header + HOSTS[0] + destination + ports + payload)


def sent(from_device: Device) -> list[bytes]:
    return [bytes(one) for burst in from_device.take_bursts() for one in burst.segments()]


def receive(by: Device, payloads: list[bytes], sender: int) -> None:
    by.receive_bursts([Burst(one, len(one), ENDPOINTS[sender]) for one in payloads], NOW)


def connected() -> tuple[Device, Device, list[bytes]]:
    """Return two devices with a session, and all that the first has sent the second."""
    one, two = device(0, 1), device(1, 0)
    one.receive_packets([packet(b"begin", protocol=1)], NOW)
    messages = sent(one)
    receive(two, messages, 0)
    receive(one, sent(two), 1)
    data = sent(one)
    assert len(data) == 1
    receive(two, data, 0)
    return one, two, messages + data


def drops(of: Device) -> int:
    return dict(of.status().drops).get(Drop.LOOPED.value, 0)


def test_a_datagram_of_ours_goes_no_second_round():
    one, _, data = connected()
    one.receive_packets([packet(data[-1])], NOW)
    assert sent(one) == []
    assert drops(one) == 1


def test_a_handshake_of_ours_goes_no_second_round():
    one = device(0, 1)
    one.receive_packets([packet(b"begin", protocol=1)], NOW)
    (initiation,) = sent(one)
    one.receive_packets([packet(initiation)], NOW)
    assert drops(one) == 1
    # What waits for the session is the first packet alone.
    two = device(1, 0)
    receive(two, [initiation], 0)
    receive(one, sent(two), 1)
    assert len(sent(one)) == 1


@pytest.mark.parametrize("kind", [0, 3, 5])
def test_what_only_looks_like_ours_passes(kind):
    one, _, data = connected()
    one.receive_packets([packet(bytes([kind]) + data[-1][1:])], NOW)
    assert len(sent(one)) == 1
    assert drops(one) == 0


def test_a_tunnel_of_somebody_else_to_the_same_remote_passes():
    one, _, data = connected()
    index = bytes(byte ^ 0x55 for byte in data[-1][4:8])
    stranger = packet(data[-1][:4] + index + data[-1][8:])
    elsewhere = packet(data[-1], destination=b"\x0a\0\0\3")
    no_udp = packet(data[-1], protocol=6)
    one.receive_packets([stranger, elsewhere, no_udp], NOW)
    assert len(sent(one)) == 3
    assert drops(one) == 0
