"""The mesh as people and programs are shown it: one snapshot of everything."""

from netmgr.engine.common import text
from netmgr.engine.conflicts import LIVE
from netmgr.engine.mesh import Mesh
from netmgr.engine.remote import Direct, Remote, Via
from netmgr.engine.signing import address6, fingerprint
from netmgr.engine.trust import How
from netmgr.model import ConflictView, PeerView, RouteView, Snapshot
from netmgr.wire.objects import MAX_LOSS
from wgpy.model import Prefix

_TRUST = {How.FILE: "file", How.PERSON: "person", How.MET: "met", None: "heard"}


def snapshot(
    mesh: Mesh, *, interface: str, uptime: float, data_path: str, now: float
) -> Snapshot:
    """Return what a node knows at the moment; `uptime` in seconds."""
    context = mesh.context
    settings, identity = context.settings, context.identity
    remotes = sorted(context.remotes.values(), key=_order)
    return Snapshot(
        name=settings.name,
        address=text(settings.address),
        address6=text(address6(context.keys.net_id, identity.public)),
        fingerprint=fingerprint(identity.public),
        public_key=str(identity.wireguard_public),
        subnet=str(settings.network.subnet),
        interface=interface,
        listen_port=settings.listen_port,
        uptime=uptime,
        data_path=data_path,
        seeds=tuple(str(seed.peer.place) for seed in mesh.contacts.seeds),
        peers=tuple(_peer(mesh, remote) for remote in remotes),
        routes=_routes(mesh, remotes),
        conflicts=_conflicts(mesh, now),
        drops=tuple((reason.value, count) for reason, count in context.out.drops.items()),
        digest=context.objects.total_digest().hex(),
        unheard=mesh.ways.unheard(),
        refusals=mesh.members.refusals.views(now),
    )


def _order(remote: Remote) -> tuple[bytes, str]:
    address = None if remote.record is None else remote.record.address
    return address or b"", remote.name


def _peer(mesh: Mesh, remote: Remote) -> PeerView:
    context = mesh.context
    rx, tx, handshake = context.channel.traffic(remote.public_key)
    hops = remote.way.hops[:-1] if isinstance(remote.way, Via) else ()
    direct = remote.way.endpoint if isinstance(remote.way, Direct) else None
    offers = context.objects.offers(remote.identity)
    address = None if remote.record is None else remote.record.address
    return PeerView(
        name=remote.name,
        address=text(address),
        address6=text(address6(context.keys.net_id, remote.identity)),
        fingerprint=fingerprint(remote.identity),
        reachable=mesh.ways.is_reachable(remote),
        path=_path(mesh, remote),
        via=tuple(name_of(mesh, hop) for hop in hops),
        endpoint="" if direct is None else str(direct),
        rtt=remote.rtt if direct is not None else None,
        loss=remote.loss / MAX_LOSS if direct is not None else 0.0,
        rx_bytes=rx,
        tx_bytes=tx,
        last_handshake=handshake,
        trust=_TRUST[context.trust.how(remote.identity)],
        routes=tuple(str(offer.prefix) for offer in offers),
        tried=() if remote.up else tuple(str(place) for place in remote.places.trials),
        left=context.objects.has_left(remote.identity),
    )


def _path(mesh: Mesh, remote: Remote) -> str:
    if not mesh.ways.is_reachable(remote):
        return "none"
    if isinstance(remote.way, Via):
        return "relayed"
    return "lan" if remote.places.is_local(remote.endpoint) else "direct"


def name_of(mesh: Mesh, short: bytes) -> str:
    """Return the name of a node by its short id."""
    remote = mesh.context.by_short.get(short)
    return short.hex() if remote is None else remote.name


def _routes(mesh: Mesh, remotes: list[Remote]) -> tuple[RouteView, ...]:
    found = []
    for remote in remotes:
        route = mesh.ways.route(remote)
        address = None if remote.record is None else remote.record.address
        if route is not None and address and mesh.ways.is_reachable(remote):
            path = tuple(name_of(mesh, hop) for hop in route.hops)
            found.append(RouteView(text(address), remote.name, path, route.cost, "node"))
    for prefix, remote in mesh.ways.chosen():
        route = mesh.ways.route(remote)
        path = () if route is None else tuple(name_of(mesh, hop) for hop in route.hops)
        cost = 0 if route is None else route.cost
        found.append(RouteView(str(prefix), remote.name, path, cost, _kind(prefix)))
    found += [RouteView(str(one), "", (), 0, _kind(one)) for one in mesh.ways.closed()]
    return tuple(found)


def _kind(prefix: Prefix) -> str:
    return "exit" if prefix.length == 0 else "subnet"


def _conflicts(mesh: Mesh, now: float) -> tuple[ConflictView, ...]:
    return tuple(
        ConflictView(
            fingerprint(conflict.claim.identity),
            conflict.claim.name,
            text(conflict.claim.address),
            conflict.reason.value,
            conflict.count,
            now - conflict.at,
            now - conflict.knocked_at < LIVE,
        )
        for conflict in mesh.members.conflicts.current(now)
    )
