"""The sizes that `wire.datagrams` keeps to are those the kernel carries whole."""

import socket
import struct

import pytest

from wgpy.wire.datagrams import V4_MAX, V6_MAX, join

UDP_SEGMENT, UDP_GRO = 103, 104


@pytest.mark.parametrize(
    ("family", "host", "v6"),
    [(socket.AF_INET, "127.0.0.1", False), (socket.AF_INET6, "::1", True)],
)
def test_the_kernel_carries_the_largest_group_in_one_piece(family, host, v6):
    limit = V6_MAX if v6 else V4_MAX
    with (
        socket.socket(family, socket.SOCK_DGRAM) as to,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        try:
            to.bind((host, 0))
            to.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
        except OSError as error:
            pytest.skip(f"no {host} with UDP_GRO: {error}")
        to.settimeout(5)
        payloads = [bytes([number]) * 1100 for number in range(limit // 1100)]
        payloads.append(bytes(limit % 1100))
        (group,) = join(payloads, v6=v6)
        control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", len(group[0])))]
        sender.sendmsg(group, control, 0, to.getsockname())
        received, ancillary, _, _ = to.recvmsg(70_000, 64)
        ((_, kind, size),) = ancillary
        assert kind == UDP_GRO
        assert struct.unpack("=i", size)[0] == len(payloads[0])
        assert b"".join(payloads) == received
