"""What is fuzzed: each target takes any bytes and raises only if its invariant is broken."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from netmgr.wire import config, ipc, lines
from tests.fuzz.device import fuzz_device
from wgpy.errors import ConfigError, Drop, Rejected
from wgpy.io import netlink
from wgpy.model import Buffer
from wgpy.wire import conf, echo, hop, icmp, ip, messages, steps, text, uapi_client
from wgpy.wire.uapi import (
    BadRequest,
    GetRequest,
    Request,
    RequestReader,
    SetRequest,
    UapiError,
    format_get,
    parse_set,
)

T = TypeVar("T")
Target = Callable[[bytes], None]
Message = messages.Initiation | messages.Response | messages.CookieReply


def fuzz_messages(data: bytes) -> None:
    """Any bytes are at most one of the four messages, and encode to themselves."""
    decoders: tuple[Callable[[Buffer], Message], ...] = (
        messages.Initiation.decode_untrusted,
        messages.Response.decode_untrusted,
        messages.CookieReply.decode_untrusted,
    )
    found = [_rejected(decode, data, Drop.MALFORMED) for decode in decoders]
    decoded = [message for message in found if message is not None]
    assert all(message.encode() == data for message in decoded)
    kind, receiver, counter = messages.data_fields_untrusted(data)
    is_data = kind == messages.TYPE_DATA
    assert len(decoded) + is_data + messages.is_foreign(data) <= 1
    if is_data:
        header = messages.encode_data_header(receiver, counter)
        assert header + bytes(messages.ciphertext(data)) == data
    if len(data) >= messages.RESPONSE_SIZE:
        assert sum(map(len, messages.macs(data))) == len(data) - len(messages.before_mac1(data))


def fuzz_ip(data: bytes) -> None:
    """Any bytes are a packet with addresses or rejected; ECN keeps size and checksum."""
    for tos, packet in ((data[0] if data else 0, data[1:]), (3, memoryview(data))):
        destination = _rejected(ip.destination_untrusted, packet, Drop.NOT_IP)
        if destination is not None:
            assert len(destination) in (4, 16)
            assert ip.ecn_to_outer(packet) in (0, 1, 2)
            carried = ip.udp_payload(packet)
            assert carried is None or len(carried) <= len(packet) - len(destination) * 2
        found = _rejected(ip.source_and_size_untrusted, packet, Drop.BAD_INNER)
        if found is None:
            continue
        assert destination is not None, "what may go in may come out"
        assert len(found[0]) == len(destination) and 20 <= found[1] <= len(packet)
        marked = ip.ecn_from_outer(packet, tos)
        assert len(marked) == len(packet)
        if ip.version(packet) == 4 and _header_is_sound(packet):
            assert _header_is_sound(marked)


def fuzz_hop(data: bytes) -> None:
    """Whatever a peer may send on stays sound, small enough, and between the same hosts."""
    mtu, packet = 68 + int.from_bytes(data[:1]), data[1:]
    found = _rejected(ip.source_and_size_untrusted, packet, Drop.BAD_INNER)
    if found is None or not hop.is_sound(packet := packet[: found[1]]):
        return
    assert hop.source(packet) == found[0]
    if not hop.hops_left(packet):
        return
    changed = hop.take_hop(packet)
    assert hop.is_sound(changed) and hop.hops_left(changed) == hop.hops_left(packet) - 1
    assert len(changed) == len(packet)
    assert ip.destination_untrusted(changed) == ip.destination_untrusted(packet)
    if hop.may_fragment(changed) and len(changed) > mtu:
        pieces = [*hop.fragments(changed, mtu)]
        assert all(hop.is_sound(piece) and len(piece) <= mtu for piece in pieces)
        payloads = [piece[(piece[0] & 15) * 4 :] for piece in pieces]
        assert b"".join(payloads) == changed[(changed[0] & 15) * 4 :]


def fuzz_icmp(data: bytes) -> None:
    """Any bytes get no answer or a sound one, bounded, back to their source."""
    answers = (icmp.unreachable(data), icmp.time_exceeded(data), icmp.too_big(data, 1280))
    assert len({answer is None for answer in answers}) == 1
    for answer in answers:
        _check_answer(data, answer)


def _check_answer(data: bytes, answer: bytes | None) -> None:
    if answer is None:
        return
    source, size = ip.source_and_size_untrusted(answer)
    assert size == len(answer) <= (576 if len(source) == 4 else 1280)
    assert source == ip.destination_untrusted(data)
    assert ip.destination_untrusted(answer) == ip.source_and_size_untrusted(data)[0]
    assert icmp.unreachable(answer) is None, "no error about an error"
    assert len(source) == 16 or _header_is_sound(answer)


def fuzz_echo(data: bytes) -> None:
    """Any bytes are the answer to an echo or not."""
    for v6 in (False, True):
        assert echo.is_reply_untrusted(data, b"mark", v6=v6) in (False, True)


def fuzz_uapi(data: bytes) -> None:
    """Any stream, however it is cut, is the same requests; a set is a change or UapiError."""
    cuts = data[:8]
    stream = data[8:]
    whole = _feed([stream])
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces.append(stream[at:])
    assert _told(_feed(pieces)) == _told(whole)
    assert all(request.operation or request is whole[-1] for request in _bad(whole))
    for request in whole:
        if not isinstance(request, SetRequest):
            continue
        with suppress(UapiError):
            change = parse_set(request.lines)
            (again,) = _feed([uapi_client.format_set(change)])
            assert isinstance(again, SetRequest)
            assert parse_set(again.lines) == change


def fuzz_uapi_client(data: bytes) -> None:
    """Any answer is a state, which can be told and read again, or UapiError."""
    with suppress(UapiError):
        uapi_client.parse_set_answer(data)
    with suppress(UapiError):
        status = uapi_client.parse_get(data)
        again = uapi_client.parse_get(format_get(status))
        assert again.listen_port == status.listen_port
        assert [peer.allowed_ips for peer in again.peers] == [
            peer.allowed_ips for peer in status.peers
        ]


def fuzz_conf(data: bytes) -> None:
    """Any file is a configuration, which can be written and read again, or an error."""
    config = _config_error(conf.parse, data)
    if config is None:
        return
    conf.to_change(config, {})
    assert conf.parse(conf.strip(config)).peers == config.peers
    written = _config_error(conf.format, config)
    assert written is None or conf.parse(written) == config


def fuzz_text(data: bytes) -> None:
    """Any text is a value that reads back from what it is written as, or one line of error."""
    words = data.decode("utf-8", "surrogateescape")
    endpoint = _config_error(text.parse_endpoint, words)
    if endpoint is not None:
        assert text.parse_endpoint(text.format_endpoint(endpoint)) == endpoint
    prefix = _config_error(text.parse_prefix, words)
    if prefix is not None:
        assert text.parse_prefix(text.format_prefix(prefix)) == prefix
        assert text.covers(prefix, prefix)
    address = _config_error(text.parse_address, words)
    if address is not None:
        assert text.parse_address(text.format_address(address)) == address
    for parse in (text.parse_key, text.parse_hex_key):
        key = _config_error(parse, words)
        assert key is None or len(key) == 32
    _config_error(text.split_host_port, words)
    _config_error(text.parse_port, words)
    number = _config_error(lambda each: text.parse_number(each, 2**32 - 1), words)
    assert number is None or 0 <= number < 2**32


def fuzz_steps(data: bytes) -> None:
    """Any record is what was done, which can be written and read again, or an error."""
    record = _config_error(steps.parse_record, data)
    assert record is None or steps.parse_record(steps.format_record(record)) == record


def fuzz_netlink(data: bytes) -> None:
    """Any datagram of the kernel ends in messages; each is read, or raises struct.error."""
    count = 0
    for _, content in netlink.messages(data):
        count += 1
        for read in (netlink.link, netlink.address, netlink.route):
            with suppress(struct.error):
                read(content)
        assert sum(map(len, netlink.attributes(content).values())) <= len(content)
    assert count <= len(data) // 16


def fuzz_mesh_files(data: bytes) -> None:
    """Any text as a file of the manager is a value or lines; as an answer, too."""
    for reading in (config.read_network(data), config.read_peer(data)):
        said = (*reading.errors, *reading.warnings)
        assert (reading.value is None) == bool(reading.errors)
        assert all(line and len(line.splitlines()) == 1 for line in said)
    _config_error(lines.parse_request, data)
    answer = _config_error(lines.parse_answer, data)
    if isinstance(answer, dict):
        snapshot = _config_error(ipc.snapshot_from_plain, answer)
        assert snapshot is None or snapshot == ipc.snapshot_from_plain(
            ipc.snapshot_to_plain(snapshot)
        )


TARGETS: Final[dict[str, Target]] = {
    "messages": fuzz_messages,
    "ip": fuzz_ip,
    "hop": fuzz_hop,
    "icmp": fuzz_icmp,
    "echo": fuzz_echo,
    "uapi": fuzz_uapi,
    "uapi_client": fuzz_uapi_client,
    "conf": fuzz_conf,
    "text": fuzz_text,
    "steps": fuzz_steps,
    "netlink": fuzz_netlink,
    "mesh_files": fuzz_mesh_files,
    "device": fuzz_device,
}


# --- the one documented error ---


def _rejected(parse: Callable[..., T], data: object, drop: Drop) -> T | None:
    try:
        return parse(data)
    except Rejected as rejected:
        assert rejected.drop is drop
        return None


def _config_error(parse: Callable[..., T], data: object) -> T | None:
    try:
        return parse(data)
    except ConfigError as error:
        message = str(error)
        assert message and "\n" not in message, "an error is one line"
        return None


def _header_is_sound(packet: Buffer) -> bool:
    return len(packet) >= 20 and packet[0] == 0x45 and ip.checksum(bytes(packet[:20])) == 0


def _feed(pieces: list[bytes]) -> list[Request]:
    reader = RequestReader()
    return [request for piece in pieces for request in reader.feed(piece)]


def _bad(requests: list[Request]) -> list[BadRequest]:
    return [request for request in requests if isinstance(request, BadRequest)]


def _told(requests: list[Request]) -> list[object]:
    """Return requests as values that compare: exceptions do not."""
    told: list[object] = []
    for request in requests:
        match request:
            case GetRequest():
                told.append("get")
            case SetRequest(lines):
                told.append(tuple(lines))
            case BadRequest(operation, error):
                told.append((operation, error.errno, str(error)))
    return told
