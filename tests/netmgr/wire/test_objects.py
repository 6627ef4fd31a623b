"""Signed objects: the bytes of each kind, there and back, and what is refused."""

from collections.abc import Callable
from hashlib import blake2s
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.engine.signing import Identity, verify_untrusted
from netmgr.errors import Reason, Rejected
from netmgr.model import Candidate, Kind
from netmgr.wire import objects
from netmgr.wire.objects import Accept, Edge, Links, Offer, Record
from wgpy.model import Endpoint, Prefix, Secret

NET = bytes(range(8))
ME = Identity(Secret(bytes(range(32))))
V4 = Endpoint(ip_address("192.0.2.1").packed, 51820)
V6 = Endpoint(ip_address("2001:db8::1").packed, 50001)

# The bytes below are the format: a change of them is another version.
HEAD = "01010000" + ME.public.hex() + "0000000000000007" + "0003"
SIGNATURE = (
    "26dc7684097ef0abba5484b880e9873fcf34aba805c3b8160e4189b06506af18"
    "78875225947c0586e839d23de04c51bdae1d8cf2f64aebfc157970622321b302"
)
RECORD = (
    "000a0102"
    "05616c6963"
    "65"
    "01040a000001"
    "020700"
    "ca6c"
    "c0000201"
    "021302"
    "c351"
    "20010db8000000000000000000000001"
)
LINKS = "000102010101010101010100003039000202020202020202ffffffffff"
ROUTES = "02011000050a0100008020010020010db8000000000000000000000000"
ACCEPT = "05626f622d320a000002" + "09" * 32

ALICE = Record(
    "alice",
    bytes([10, 0, 0, 1]),
    objects.GATEWAY | objects.SEED,
    (1, 2),
    (Candidate(V4, Kind.STATIC), Candidate(V6, Kind.OBSERVED)),
)
EDGES = (Edge(b"\1" * 8, 12345), Edge(b"\2" * 8, 0xFFFFFFFF, 255))
OFFERS = (
    Offer(Prefix(bytes([10, 1, 0, 0]), 16), 5, exit=True),
    Offer(Prefix(ip_address("2001:db8::").packed, 32), 256),
)
BOB = Accept("bob-2", bytes([10, 0, 0, 2]), b"\x09" * 32)

names = st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True)
hosts = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16).filter(
    lambda host: not host.startswith(bytes(10) + b"\xff\xff")
)
candidates = st.builds(
    Candidate,
    st.builds(Endpoint, hosts, st.integers(1, 65535), st.just(0)),
    st.sampled_from(Kind),
)
records = st.builds(
    Record,
    names,
    st.none() | st.binary(min_size=4, max_size=4),
    st.integers(0, 65535),
    st.tuples(st.integers(0, 9), st.integers(9, 255)),
    st.lists(candidates, max_size=8).map(tuple),
)
edges = st.builds(
    Edge,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 255),
)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    size = draw(st.sampled_from([4, 16]))
    length = draw(st.integers(0, 8 * size))
    host_bits = 8 * size - length
    number = draw(st.integers(0, 2 ** (8 * size) - 1)) >> host_bits << host_bits
    return Prefix(number.to_bytes(size), length)


offers = st.builds(Offer, prefixes(), st.integers(0, 65535), st.booleans())


def signed(seq: int = 7, body: bytes = b"abc") -> bytes:
    return objects.encode(objects.RECORD, 0, ME.public, seq, body, NET, ME.sign)


def malformed(decode: Callable[..., object], *arguments: object) -> bool:
    with pytest.raises(Rejected) as caught:
        decode(*arguments)
    return caught.value.reason is Reason.MALFORMED


# --- the object ---


def test_an_object_has_its_bytes():
    assert signed().hex() == HEAD + b"abc".hex() + SIGNATURE


def test_the_signature_is_over_label_network_and_all_before_it():
    blob = signed()
    message, signature = objects.signed_part(NET, objects.split_untrusted(blob))
    assert message == b"netmgr/object/1" + NET + blob[:-64]
    assert message == objects.signing_input(NET, blob[:-64])
    assert signature == blob[-64:]
    verify_untrusted(ME.public, message, signature)


@given(st.integers(0, 255), st.integers(0, 65535), st.integers(0, 2**64 - 1), st.binary())
def test_an_object_comes_apart_into_what_it_was_made_of(kind, part, seq, body):
    blob = objects.encode(kind, part, ME.public, seq, body, NET, lambda _: b"s" * 64)
    split = objects.split_untrusted(blob)
    assert objects.identity_of(blob) == split.identity
    assert split == (kind, part, ME.public, seq, body, blob)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        signed()[:-1],
        signed() + b"\0",
        signed()[:109],
        b"\x01\x02" + signed()[2:],
        b"\x01\x00" + signed()[2:],
        signed(body=bytes(1090)) + b"\0",
    ],
)
def test_another_form_is_refused(blob):
    assert malformed(objects.split_untrusted, blob)


def test_the_longest_and_the_shortest_object_are_taken():
    assert len(objects.split_untrusted(signed(body=bytes(1090))).blob) == objects.MAX_BLOB
    assert objects.split_untrusted(signed(body=b"")).body == b""


def test_a_mark_is_a_hash_and_a_sum_of_marks_has_eight_bytes():
    blob = signed()
    expected = blake2s(blob, digest_size=8).digest()
    assert objects.sum_bytes(objects.mark(blob)) == expected
    assert objects.sum_bytes(0) == bytes(8)


@given(st.binary(max_size=1300))
def test_garbage_is_refused_or_an_object(blob):
    try:
        assert objects.split_untrusted(blob).blob == blob
    except Rejected as fault:
        assert fault.reason is Reason.MALFORMED


# --- vectors ---


def test_each_body_has_its_bytes():
    assert objects.encode_record(ALICE).hex() == RECORD
    assert [body.hex() for body in objects.encode_links(EDGES)] == [LINKS]
    assert objects.encode_routes(OFFERS).hex() == ROUTES
    assert objects.encode_accept(BOB).hex() == ACCEPT
    assert objects.encode_leave() == b""


def test_each_body_is_read_from_its_bytes():
    assert objects.decode_record_untrusted(bytes.fromhex(RECORD)) == ALICE
    assert objects.decode_links_untrusted(bytes.fromhex(LINKS), 0) == Links(1, EDGES)
    assert objects.decode_routes_untrusted(bytes.fromhex(ROUTES)) == OFFERS
    assert objects.decode_accept_untrusted(bytes.fromhex(ACCEPT)) == BOB
    objects.decode_leave_untrusted(b"")


# --- there and back ---


@given(records)
def test_a_record_comes_back(record):
    body = objects.encode_record(record)
    assert len(body) <= 266
    assert objects.decode_record_untrusted(body) == record


@given(st.lists(edges, max_size=200))
def test_links_come_back_part_by_part(given):
    bodies = objects.encode_links(given)
    parts = [objects.decode_links_untrusted(body, at) for at, body in enumerate(bodies)]
    assert {part.total for part in parts} == {len(bodies)}
    assert [edge for part in parts for edge in part.edges] == given
    assert all(len(signed(body=body)) <= objects.MAX_BLOB for body in bodies)


@given(st.lists(offers, max_size=32).map(tuple))
def test_routes_come_back(given):
    body = objects.encode_routes(given)
    assert objects.decode_routes_untrusted(body) == given
    assert len(signed(body=body)) <= objects.MAX_BLOB


@given(names, st.binary(min_size=4, max_size=4), st.binary(min_size=32, max_size=32))
def test_an_acceptance_comes_back(name, address, identity):
    accept = Accept(name, address, identity)
    assert objects.decode_accept_untrusted(objects.encode_accept(accept)) == accept


def test_a_scope_is_of_this_host_and_does_not_travel():
    local = Candidate(Endpoint(ip_address("fe80::1").packed, 1, 7), Kind.LOCAL)
    body = objects.encode_record(Record("a", None, 0, (1, 1), (local,)))
    (read,) = objects.decode_record_untrusted(body).candidates
    assert read == Candidate(Endpoint(local.endpoint.host, 1), Kind.LOCAL)


def test_what_is_too_slow_or_too_lossy_is_told_as_the_worst_there_is():
    (body,) = objects.encode_links([Edge(b"\1" * 8, 2**40, 1000)])
    assert objects.decode_links_untrusted(body, 0).edges[0][1:] == (0xFFFFFFFF, 255)


def test_at_most_eight_candidates_are_told():
    many = tuple(Candidate(Endpoint(bytes(4), port), Kind.LOCAL) for port in range(1, 12))
    body = objects.encode_record(Record("a", None, 0, (1, 1), many))
    assert objects.decode_record_untrusted(body).candidates == many[:8]


# --- what later versions add ---


@pytest.mark.parametrize("added", ["", "0900", "ff03616263", "09000a0101"])
def test_optional_parts_of_unknown_type_are_skipped(added):
    more = bytes.fromhex(added)
    assert objects.decode_record_untrusted(bytes.fromhex(RECORD) + more) == ALICE
    assert objects.decode_links_untrusted(bytes.fromhex(LINKS) + more, 0).edges == EDGES
    assert objects.decode_routes_untrusted(bytes.fromhex(ROUTES) + more) == OFFERS
    assert objects.decode_accept_untrusted(bytes.fromhex(ACCEPT) + more) == BOB
    objects.decode_leave_untrusted(more)


def test_a_candidate_of_an_unknown_kind_is_left_out():
    body = bytes.fromhex(RECORD + "020709ca6cc0000201")
    assert objects.decode_record_untrusted(body) == ALICE


# --- what is refused ---


def record_with(tagged: str, name: str = "0161", versions: str = "0101") -> bytes:
    return bytes.fromhex("0000" + versions + name + tagged)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        record_with("", name="00"),
        record_with("", name="0141"),
        record_with("", name="01ff"),
        record_with("", name="02610a"),
        record_with("", name="0261"),
        record_with("", name="40" + "61" * 64),
        record_with("", versions="0201"),
        record_with("01"),
        record_with("0102"),
        record_with("01030a0000"),
        record_with("01040a00000101040a000001"),
        record_with("0200"),
        record_with("02060000010a0000"),
        record_with("02070000000a000001"),
        record_with("021300000100000000000000000000ffff0a000001"),
        record_with("02070000010a000001" * 9),
        record_with("02070000010a000001" * 9),
    ],
)
def test_a_record_in_another_form_is_refused(body):
    assert malformed(objects.decode_record_untrusted, body)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("", 0),
        ("0001", 0),
        ("000000", 0),
        ("000100", 1),
        ("00010100", 0),
        ("000141" + "00" * 13 * 65, 0),
        (LINKS + "00", 0),
    ],
)
def test_links_in_another_form_are_refused(body, part):
    assert malformed(objects.decode_links_untrusted, bytes.fromhex(body), part)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "01",
        "01001000000a0000",
        "01002100000a000000",
        "01000800000a000001",
        "0180810000" + "00" * 16,
        "21" + "002000000a000001" * 33,
        ROUTES + "0101",
    ],
)
def test_routes_in_another_form_are_refused(body):
    assert malformed(objects.decode_routes_untrusted, bytes.fromhex(body))


@pytest.mark.parametrize("body", ["", "00", ACCEPT[:-2], ACCEPT + "01", "0141" + "00" * 36])
def test_an_acceptance_in_another_form_is_refused(body):
    assert malformed(objects.decode_accept_untrusted, bytes.fromhex(body))


def test_what_follows_a_leave_has_the_form_of_optional_parts():
    assert malformed(objects.decode_leave_untrusted, b"\1")


DECODERS: tuple[Callable[[bytes], object], ...] = (
    objects.decode_record_untrusted,
    lambda body: objects.decode_links_untrusted(body, 0),
    objects.decode_routes_untrusted,
    objects.decode_leave_untrusted,
    objects.decode_accept_untrusted,
)


@pytest.mark.parametrize("decode", DECODERS)
@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused(decode, body):
    try:
        decode(body)
    except Rejected as fault:
        assert fault.reason is Reason.MALFORMED


@pytest.mark.parametrize("number", range(5))
@given(st.data())
def test_a_changed_body_is_read_or_refused(number, data):
    body = bytearray(bytes.fromhex([RECORD, LINKS, ROUTES, "0900", ACCEPT][number]))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        DECODERS[number](bytes(body))
    except Rejected as fault:
        assert fault.reason is Reason.MALFORMED


def test_prefixes_of_the_vectors_are_what_people_mean():
    assert [str(offer.prefix) for offer in OFFERS] == ["10.1.0.0/16", "2001:db8::/32"]
    assert ip_network("10.1.0.0/16").network_address.packed == OFFERS[0].prefix.address
