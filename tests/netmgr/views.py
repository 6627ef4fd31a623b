"""A snapshot with one peer of each kind."""

from dataclasses import replace

from netmgr.model import ConflictView, PeerView, RefusalView, RouteView, Snapshot

BOB = PeerView(
    name="bob",
    address="10.1.1.2",
    address6="fd00::2",
    fingerprint="bbbb-2222",
    reachable=True,
    path="lan",
    via=(),
    endpoint="192.168.1.2:50002",
    rtt=0.0012,
    loss=0.0,
    rx_bytes=1536,
    tx_bytes=10,
    last_handshake=940.0,
    trust="met",
    routes=("192.168.7.0/24",),
)
CAROL = replace(
    BOB, name="carol", address="10.1.1.3", path="relayed", via=("bob",), endpoint="",
    rtt=None, loss=0.25, last_handshake=0.0, trust="file",
)  # fmt: skip
DAVE = replace(BOB, name="dave\x1b[2J", reachable=False, path="none", trust="heard")
REFUSAL = RefusalView("192.0.2.1:1", "alice", "10.1.1.1", "ff-1", True, True, "aaaa-1111")
SNAPSHOT = Snapshot(
    name="alice",
    address="10.1.1.1",
    address6="fd00::1",
    fingerprint="aaaa-1111",
    public_key="KEY=",
    subnet="10.1.1.0/24",
    interface="wg0",
    listen_port=50001,
    uptime=90061.5,
    seeds=("vps.example.org:50001",),
    peers=(DAVE, CAROL, BOB),
    routes=(
        RouteView("10.1.1.2/32", "bob", (), 12, "node"),
        RouteView("10.1.1.3/32", "carol", ("bob",), 345, "node"),
    ),
    conflicts=(ConflictView("cccc-3333", "bob", "10.1.1.2", "name belongs to another", 2),),
    drops=(("does not decrypt", 3), ("none", 0)),
    digest="d",
)
