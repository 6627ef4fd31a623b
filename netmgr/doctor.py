"""`wg_netmanager doctor`: why a network is not well; a line a check, with the next step."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from netmgr.engine.knock import Knocker, open_untrusted
from netmgr.engine.plan import forwarding
from netmgr.engine.signing import NetworkKeys, address6
from netmgr.errors import Rejected
from netmgr.io import health
from netmgr.io.control_client import call, nodes
from netmgr.model import (
    ID_SIZE,
    Finding,
    HostPort,
    Level,
    NetworkFile,
    Settings,
    Snapshot,
)
from netmgr.options import gather, load, load_network
from netmgr.ui import findings
from netmgr.wire import frames, words
from netmgr.wire.choices import Choices
from netmgr.wire.ipc import snapshot_from_plain
from wgpy.errors import ConfigError
from wgpy.io import clock
from wgpy.model import Endpoint
from wgpy.wire.text import format_address, parse_address

_SEEDS: Final = 8


def run(given: Choices, environ: Mapping[str, str], *, as_json: bool) -> int:
    """Look at everything; return the exit code: 1 if anything fails."""
    found = []
    for finding in examine(given, environ):
        found.append(finding)
        if not as_json:
            print(*findings.lines([finding]), sep="\n", flush=True)
    if as_json:
        print(json.dumps([{**each._asdict(), "level": each.level.value} for each in found]))
    return 1 if any(each.level is Level.FAIL for each in found) else 0


def examine(given: Choices, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what each check finds; a check that takes time comes late."""
    warnings: list[str] = []
    settings, fault = _settings(given, environ, warnings)
    yield from (Finding(Level.WARN, "files", line) for line in warnings)
    running = _running(given, settings)
    network = _network(given, environ) if settings is None else settings.network
    keys = None if network is None else NetworkKeys(network.shared_key)
    if running is not None and not (keys and _is_of(keys, running)):
        keys = None
        text = f"{running.name} runs on {running.interface} with other files than these"
        todo = "name its own by -c, or its seeds are not asked"
        yield Finding(Level.WARN, "files", text, todo)
    elif settings is not None:
        yield Finding(Level.OK, "files", f"node {settings.name} of {settings.network.subnet}")
    elif fault is not None and running is None:
        yield fault
    yield health.privileges()
    yield health.wall_clock()
    yield health.sockets()
    yield from _node(settings, running)
    places: list[HostPort] = []
    if running is not None:
        places = [words.parse_place(each) for each in running.seeds]
    elif network is not None:
        places = [peer.place for peer in (settings.seeds if settings else network.peers)]
    yield from (seed(keys, place) for place in places[:_SEEDS])
    if running is not None:
        yield from findings.of_snapshot(running)


def _settings(
    given: Choices, environ: Mapping[str, str], warnings: list[str]
) -> tuple[Settings | None, Finding | None]:
    try:
        return load(given, environ, warnings.append), None
    except ConfigError as error:
        todo = "wg_netmanager check tells everything that is wrong with the files"
        return None, Finding(Level.FAIL, "files", str(error), todo)


def _network(given: Choices, environ: Mapping[str, str]) -> NetworkFile | None:
    """Return the network alone, where the node is not known."""
    try:
        return load_network(gather(given, environ, lambda _: None)[1], lambda _: None)
    except ConfigError:
        return None


def _running(given: Choices, settings: Settings | None) -> Snapshot | None:
    """Return what the node says that is meant, or the only one; None if it does not run."""
    try:
        if "interface" in given:
            name = given["interface"].texts[0]
        elif settings is not None:
            name = settings.interface
        else:
            (name,) = nodes()
        return snapshot_from_plain(call(name, "snapshot", {}, timeout=5))
    except (ConfigError, ValueError):
        return None


def _is_of(keys: NetworkKeys, running: Snapshot) -> bool:
    """Tell whether a node is of a network, by the prefix of its IPv6 address."""
    prefix = address6(keys.net_id, bytes(ID_SIZE))[:8]
    return parse_address(running.address6)[:8] == prefix


def _node(settings: Settings | None, running: Snapshot | None) -> Iterator[Finding]:
    """Yield what is to be said of the port, the firewall and forwarding."""
    if running is not None:
        text = f"{running.name} runs on {running.interface}, UDP port {running.listen_port}"
        yield Finding(Level.OK, "node", text)
        port, interface = running.listen_port, running.interface
        yield from health.interface(interface)
    elif settings is not None:
        yield Finding(Level.WARN, "node", "it does not run", "start it")
        yield health.port(settings.listen_port)
        port, interface = settings.listen_port, settings.interface
    else:
        return
    offers = settings is not None and bool(settings.offered)
    uses = settings is not None and any(not prefix.length for prefix, _ in settings.via)
    if running is not None and settings is not None:
        yield from health.forwarding(forwarding(settings.offered))
    yield from health.firewall(port, interface, forwards=offers)
    yield health.reverse_path(matters=offers or uses)


# --- static peers ---


def seed(keys: NetworkKeys | None, place: HostPort) -> Finding:
    """Knock at a static peer, as a node does that has never been there.

    Without the keys of its network only its name is looked up.
    """
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)
    except OSError as error:
        reason = error.strerror or str(error)
        todo = "correct endPoint: in network.yaml, or the resolver of this host"
        return Finding(
            Level.FAIL, "seed", f"{place}: the name does not resolve: {reason}", todo
        )
    if keys is None:
        return Finding(Level.OK, "seed", f"{place} has an address; it was not asked")
    why = "no answer"
    for family, _, _, _, address in found:
        endpoint = Endpoint(socket.inet_pton(family, str(address[0])), place.port)
        try:
            ack = _knock(keys, endpoint, family, address)
        except OSError as error:
            why = error.strerror or str(error)
            continue
        if ack is not None:
            # Without the port, which is that of this question, not the node's.
            seen = f", sees us as {format_address(ack.observed.host)}" if ack.observed else ""
            return Finding(Level.OK, "seed", f"{place} answers{seen}")
    todo = (
        "nobody listens there: start the node"
        if why == "Connection refused"
        else f"does it run, is UDP port {place.port} open there, is its sharedKey this one?"
    )
    return Finding(Level.FAIL, "seed", f"{place}: {why}", todo)


def _knock(
    keys: NetworkKeys, endpoint: Endpoint, family: int, address: tuple[object, ...]
) -> frames.Ack | None:
    """Return the answer to a knock, None if there is none of this network.

    Raises:
        OSError: it cannot be sent, or ICMP says that it is not delivered.
    """
    knocker = Knocker(keys, clock.entropy(ID_SIZE), clock.entropy)
    answer = health.ask(family, address, knocker.knock(endpoint, clock.now()))
    if answer is not None:
        with suppress(Rejected):
            kind, body = open_untrusted(keys, answer)
            if kind == frames.ACK:
                return frames.Ack.decode_untrusted(body)
    return None
