from errno import EADDRINUSE, EINVAL, EPROTO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.model import (
    AllowedIPChange,
    DeviceChange,
    DeviceStatus,
    Endpoint,
    PeerChange,
    PeerStatus,
    Prefix,
    PublicKey,
    Secret,
)
from wgpy.wire.uapi import (
    MAX_LINE_SIZE,
    BadRequest,
    GetRequest,
    Operation,
    Request,
    RequestReader,
    SetRequest,
    UapiError,
    format_errno,
    format_get,
    parse_set,
)

KEY = "ab" * 32
PEER = PublicKey(bytes.fromhex(KEY))
HOST = Prefix(bytes([10, 0, 0, 1]), 32)


def change(*lines: str) -> PeerChange:
    return parse_set(["public_key=" + KEY, *lines]).peers[0]


def only_bad(requests: list[Request]) -> BadRequest:
    (request,) = requests
    assert isinstance(request, BadRequest)
    return request


def refusal(*lines: str) -> tuple[int, str]:
    with pytest.raises(UapiError) as caught:
        parse_set(lines)
    assert "\n" not in str(caught.value)
    return caught.value.errno, str(caught.value)


# --- the stream ---


def test_operations_follow_each_other_on_one_connection():
    reader = RequestReader()
    requests = reader.feed(b"get=1\n\nset=1\nfwmark=1\nfwmark=2\n\n\nget=1\n\nset=1\n")
    assert requests == [GetRequest(), SetRequest(("fwmark=1", "fwmark=2")), GetRequest()]
    assert reader.feed(b"\n") == [SetRequest(())]


@given(st.lists(st.integers(0, 40)))
def test_requests_are_the_same_wherever_the_stream_is_cut(cuts):
    stream = b"get=1\n\nset=1\nfwmark=1\n\xff\n\nset=1\nfwmark=2\n\n"
    edges = [0, *sorted(cuts), len(stream)]
    reader = RequestReader()
    requests = []
    for start, end in pairwise(edges):
        requests += reader.feed(memoryview(stream)[start:end])
    assert requests[0] == GetRequest()
    assert isinstance(requests[1], BadRequest)
    assert requests[2:] == [SetRequest(("fwmark=2",))]


@pytest.mark.parametrize(
    ("line", "errno", "why"),
    [
        (b"fwmark=\xff", EPROTO, "line 3: not UTF-8"),
        (b"fwmark=\0", EPROTO, "line 3: a NUL byte"),
        (b"x" * (MAX_LINE_SIZE + 1), EPROTO, "line 3: longer than 4096 bytes"),
    ],
)
def test_a_bad_line_spoils_its_operation_alone(line, errno, why):
    reader = RequestReader()
    stream = b"set=1\nfwmark=1\n" + line + b"\n\xff\n\nget=1\n\n"
    first, get = reader.feed(stream)
    bad = only_bad([first])
    assert bad.operation is Operation.SET
    assert (bad.error.errno, str(bad.error)) == (errno, why)
    assert get == GetRequest()


def test_a_line_of_the_longest_size_passes():
    line = b"x" * MAX_LINE_SIZE
    assert RequestReader().feed(b"set=1\n" + line + b"\n\n") == [SetRequest((line.decode(),))]


def test_a_line_too_long_is_known_in_pieces():
    reader = RequestReader()
    reader.feed(b"set=1\n")
    for _ in range(3):
        assert reader.feed(b"x" * MAX_LINE_SIZE) == []
    bad = only_bad(reader.feed(b"\n\n"))
    assert str(bad.error) == "line 2: longer than 4096 bytes"


def test_a_get_has_no_lines():
    bad = only_bad(RequestReader().feed(b"get=1\nfwmark=1\n\n"))
    assert (bad.operation, bad.error.errno) == (Operation.GET, EINVAL)


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1", b"get=2", b"set=1 ", b"get=1\r", b"\xff\0"]
)
def test_another_language_is_answered_once_and_not_heard_again(line):
    reader = RequestReader()
    bad = only_bad(reader.feed(line + b"\nget=1\n\n"))
    assert (bad.operation, bad.error.errno) == (None, EPROTO)
    assert reader.feed(b"\nget=1\n\n") == []


@given(st.lists(st.binary() | st.sampled_from([b"get=1\n", b"set=1\n", b"\n", b"a=b\n"])))
def test_any_bytes_are_requests(pieces):
    reader = RequestReader()
    for piece in pieces:
        for request in reader.feed(piece):
            if isinstance(request, SetRequest):
                try:
                    parse_set(request.lines)
                except UapiError as error:
                    assert error.errno in (EINVAL, EPROTO)


def test_a_request_shows_no_keys():
    assert KEY not in repr(SetRequest(("private_key=" + KEY,)))


# --- set ---


def test_what_is_not_named_stays():
    assert parse_set([]) == DeviceChange()
    assert change() == PeerChange(PEER)


def test_properties_of_the_device():
    lines = ["private_key=" + KEY, "listen_port=51820", "fwmark=4294967295"]
    secret = Secret(PEER)
    assert parse_set(lines) == DeviceChange(secret, 51820, 2**32 - 1)
    assert parse_set(["replace_peers=true"]) == DeviceChange(replace_peers=True)


def test_a_zero_key_is_no_key():
    device = parse_set(
        ["private_key=" + "0" * 64, "public_key=" + KEY, "preshared_key=" + "0" * 64]
    )
    assert device.private_key is not None
    assert device.private_key.is_zero
    assert device.peers[0].preshared_key == device.private_key


def test_properties_of_a_peer():
    assert change(
        "remove=true",
        "update_only=true",
        "preshared_key=" + KEY,
        "endpoint=[fe80::1%2]:51820",
        "persistent_keepalive_interval=65535",
        "replace_allowed_ips=true",
        "protocol_version=1",
        "allowed_ip=10.0.0.1/32",
        "allowed_ip=-10.9.9.9/8",
        "allowed_ip=-::1",
    ) == PeerChange(
        PEER,
        remove=True,
        update_only=True,
        preshared_key=Secret(PEER),
        endpoint=Endpoint(bytes.fromhex("fe80" + "0" * 27 + "1"), 51820, 2),
        persistent_keepalive=65535,
        replace_allowed_ips=True,
        allowed_ips=(
            AllowedIPChange(HOST),
            AllowedIPChange(Prefix(bytes([10, 0, 0, 0]), 8), remove=True),
            AllowedIPChange(Prefix(bytes(15) + b"\1", 128), remove=True),
        ),
    )


def test_each_public_key_opens_a_section():
    other = "cd" * 32
    device = parse_set([f"public_key={key}" for key in (KEY, other, KEY)])
    assert [peer.public_key.hex() for peer in device.peers] == [KEY, other, KEY]


def test_the_last_of_two_values_holds():
    assert change("endpoint=1.1.1.1:1", "endpoint=2.2.2.2:2").endpoint == Endpoint(b"\2" * 4, 2)


def test_replacing_forgets_the_allowed_ips_before_it():
    peer = change(
        "allowed_ip=10.0.0.2/32", "replace_allowed_ips=true", "allowed_ip=10.0.0.1/32"
    )
    assert peer.allowed_ips == (AllowedIPChange(HOST),)


@pytest.mark.parametrize(
    "line",
    [
        "private_key=" + KEY[1:],
        "listen_port=65536",
        "listen_port=-1",
        "listen_port=0x10",
        "listen_port=",
        "fwmark=4294967296",
        "fwmark=0x1",
        "fwmark=off",
        "replace_peers=false",
        "public_key=",
        "allowed_ip=10.0.0.1/32",
        "own_public_key=" + KEY,
        "=",
        "get=1",
    ],
)
def test_a_device_refuses(line):
    errno, why = refusal("fwmark=1", line)
    assert errno == EINVAL
    assert why.startswith("line 3: ")


@pytest.mark.parametrize(
    "line",
    [
        "private_key=" + KEY,
        "listen_port=1",
        "replace_peers=true",
        "remove=",
        "update_only=1",
        "replace_allowed_ips=false",
        "preshared_key=" + KEY + "00",
        "endpoint=example.org:1",
        "endpoint=1.2.3.4",
        "endpoint=[fe80::1%eth0]:1",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "protocol_version=2",
        "allowed_ip=",
        "allowed_ip=+10.0.0.1/32",
        "allowed_ip=--10.0.0.1/32",
        "allowed_ip=10.0.0.1/33",
        "rx_bytes=1",
    ],
)
def test_a_peer_refuses(line):
    errno, why = refusal("public_key=" + KEY, line)
    assert errno == EINVAL
    assert why.startswith("line 3: ")


def test_a_line_without_a_value_is_a_fault_of_the_protocol():
    assert refusal("fwmark") == (EPROTO, "line 2: no key=value")


@pytest.mark.parametrize(
    "line",
    ["private_key=" + KEY + "0", "preshared_key=" + KEY, KEY + "=", KEY[:-1], "Ab/" * 14 + "="],
)
def test_no_fault_repeats_a_secret(line):
    _, why = refusal(line)
    assert KEY[:8] not in why
    assert "Ab/" not in why


# --- answers ---


def test_a_set_is_refused_with_a_negative_number_and_a_get_with_a_positive():
    assert format_errno(0, Operation.SET) == b"errno=0\n\n"
    assert format_errno(EADDRINUSE, Operation.SET) == b"errno=-98\n\n"
    assert format_errno(EINVAL, Operation.GET) == b"errno=22\n\n"
    assert format_errno(EPROTO, None) == b"errno=71\n\n"


def test_the_state_reads_as_that_of_wireguard_go():
    peer = PeerStatus(
        PEER, Secret(bytes(32)), Endpoint(b"\1" * 4, 2), 1e9 + 0.25, 5, 6, 25, (HOST,)
    )
    silent = PeerStatus(PublicKey(b"\1" * 32), Secret(PEER), None, 0.0, 0, 0, 0, ())
    status = DeviceStatus(Secret(PEER), PEER, 51820, 7, (peer, silent), (("no peer", 1),))
    assert format_get(status).decode().split("\n") == [
        f"private_key={KEY}",
        "listen_port=51820",
        "fwmark=7",
        "wgpy_drop=1 no peer",
        f"public_key={KEY}",
        "preshared_key=" + "0" * 64,
        "protocol_version=1",
        "endpoint=1.1.1.1:2",
        "last_handshake_time_sec=1000000000",
        "last_handshake_time_nsec=250000000",
        "tx_bytes=6",
        "rx_bytes=5",
        "persistent_keepalive_interval=25",
        "allowed_ip=10.0.0.1/32",
        "public_key=" + "01" * 32,
        f"preshared_key={KEY}",
        "protocol_version=1",
        "last_handshake_time_sec=0",
        "last_handshake_time_nsec=0",
        "tx_bytes=0",
        "rx_bytes=0",
        "persistent_keepalive_interval=0",
        "errno=0",
        "",
        "",
    ]


@pytest.mark.parametrize("key", [None, Secret(bytes(32))])
def test_a_device_without_identity_names_none(key):
    assert format_get(DeviceStatus(key, None, 0, 0, ())) == b"errno=0\n\n"


def test_nanoseconds_stay_below_a_second():
    peer = PeerStatus(PEER, Secret(PEER), None, 1 - 1e-12, 0, 0, 0, ())
    answer = format_get(DeviceStatus(None, None, 0, 0, (peer,)))
    assert b"_sec=0\nlast_handshake_time_nsec=999999999\n" in answer
