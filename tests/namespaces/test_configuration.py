"""What `wg` sets and shows, on a node that runs."""

import json
from pathlib import Path

import pytest

from tests.lab import LabError, keypair, wait_until
from tests.namespaces.nodes import (
    KEEPALIVE_SIZE,
    MARKS,
    ONE_PORT,
    ONE_V4,
    ONE_V6,
    TWO_V4,
    TWO_V6,
    outside,
    secret,
    start,
    tunnel,
)
from wgpy.io import uapi_client
from wgpy.model import PublicKey
from wgpy.wire.text import parse_key

pytestmark = MARKS
LOW_ORDER = Path(__file__).parents[1] / "vectors" / "x25519_low_order.json"


# --- keys ------------------------------------------------------------------------------------


def test_a_new_identity_shakes_hands_at_once(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    private, public = keypair()
    psk = two.by_peer("preshared-keys")[one.public]
    one.set("private-key", secret(lab, private))
    two.set(
        *("peer", public, "preshared-key", secret(lab, psk)),
        *("allowed-ips", f"{ONE_V4}/32,{ONE_V6}/128", "peer", one.public, "remove"),
    )
    assert one.ping(TWO_V4) == 1
    assert one.ping(TWO_V6) == 1
    assert two.show("peers") == public
    two.set("peer", public, "remove")
    assert two.show("peers") == ""
    assert one.ping(TWO_V4) == 0


def test_a_private_key_is_shown_as_it_is_used(lab):
    node = start(lab, lab.ns())
    node.set("private-key", secret(lab, "/" * 42 + "8="))
    # The lowest three bits and the highest are cleared, the second highest is set.
    assert node.show("private-key") == "+P" + "/" * 39 + "38="
    node.set("private-key", "/dev/null")
    assert node.show("private-key") == "(none)"


def test_the_node_is_no_peer_of_itself(lab):
    node = start(lab, lab.ns())
    private, public = keypair()
    node.set("peer", node.public, "allowed-ips", "10.0.0.1/32")
    assert node.show("peers") == ""
    node.set("peer", public, "allowed-ips", "10.0.0.1/32")
    node.set("private-key", secret(lab, private))
    assert node.show("peers") == ""
    assert node.show("public-key") == public


def test_a_preshared_key_is_set_and_removed(lab):
    node = start(lab, lab.ns())
    peer, psk = keypair()[1], keypair()[0]
    node.set("peer", peer, "preshared-key", secret(lab, psk))
    assert node.by_peer("preshared-keys") == {peer: psk}
    node.set("peer", peer, "preshared-key", "/dev/null")
    assert node.by_peer("preshared-keys") == {peer: "(none)"}


def test_a_wrong_preshared_key_stops_the_next_session(lab):
    one, two = tunnel(lab)
    one.set("peer", two.public, "preshared-key", secret(lab, keypair()[0]))
    assert one.ping(TWO_V4) == 0
    assert one.handshake_at(two) == 0


def test_peers_with_keys_of_low_order_are_never_sent_a_byte(lab):
    one, two = tunnel(lab)
    lab.nft(
        outside(one),
        """table ip seen {
            chain output {
                type filter hook output priority 0;
                udp dport 9 counter;
            }
        }""",
    )
    bad = [
        str(PublicKey(bytes.fromhex(key)))
        for key in json.loads(LOW_ORDER.read_text())["points"]
    ]
    assert len(bad) >= 7
    for key in bad:
        one.set("peer", key, "endpoint", "127.0.0.1:9", "persistent-keepalive", 1)
    one.set("peer", two.public, "persistent-keepalive", 1)
    assert one.ping(TWO_V4) == 1
    seen = two.transfer(one)[0]
    wait_until(lambda: two.transfer(one)[0] >= seen + 2 * KEEPALIVE_SIZE, 8, "keepalives")
    assert {one.by_peer("transfer")[key] for key in bad} == {"0\t0"}
    assert "packets 0 " in lab.run(outside(one), "nft", "list", "ruleset").stdout


# --- allowed ips -----------------------------------------------------------------------------


def test_prefixes_move_to_the_peer_that_was_given_them_last(lab):
    node = start(lab, lab.ns())
    first, second = keypair()[1], keypair()[1]
    node.set("peer", first, "allowed-ips", "::/0,1700::/111,5000::/4,e000::/37,9000::/75")
    node.set("peer", second, "allowed-ips", "::/0")
    node.set("peer", second, "remove")
    assert node.by_peer("allowed-ips") == {first: "1700::/111 5000::/4 e000::/37 9000::/75"}
    node.set("peer", first, "allowed-ips", "10.0.0.99/24")
    assert node.by_peer("allowed-ips") == {first: "10.0.0.0/24"}
    node.set("peer", first, "allowed-ips", "")
    assert node.by_peer("allowed-ips") == {first: "(none)"}


def test_one_prefix_can_be_taken_away(lab):
    node = start(lab, lab.ns())
    peer, other = keypair()[1], keypair()[1]
    node.set("peer", peer, "allowed-ips", "192.168.0.1/32,192.168.0.2/32,fd00::1/128")
    node.set("peer", other, "allowed-ips", "10.0.0.0/8")
    key = parse_key(peer).hex()
    request = f"set=1\npublic_key={key}\nupdate_only=true\n"
    removals = "allowed_ip=-192.168.0.1/32\nallowed_ip=-fd00::1/128\nallowed_ip=-10.0.0.0/8\n\n"
    assert uapi_client.request(node.name, (request + removals).encode()) == b"errno=0\n\n"
    assert node.by_peer("allowed-ips") == {peer: "192.168.0.2/32", other: "10.0.0.0/8"}


def test_packets_to_a_prefix_that_was_taken_away_go_nowhere(lab):
    one, two = tunnel(lab)
    assert one.ping(TWO_V4) == 1
    one.set("peer", two.public, "allowed-ips", f"{TWO_V6}/128")
    assert one.ping(TWO_V4) == 0
    assert one.ping(TWO_V6) == 1


# --- size ------------------------------------------------------------------------------------


def test_a_hundred_and_thirty_thousand_prefixes_go_in_and_come_out(lab):
    node = start(lab, lab.ns())
    peer = keypair()[1]
    pairs = [(a, b) for a in range(1, 256) for b in range(256)]
    v4 = [f"{a}.{b}.0.0/16" for a, b in pairs]
    v6 = [f"{a << 8 | b:x}::/16" for a, b in pairs]
    config = f"[Peer]\nPublicKey={peer}\nAllowedIPs={','.join(v4)}\nAllowedIPs={','.join(v6)}\n"
    lab.wg("setconf", node.name, "/dev/stdin", stdin=config)
    shown = node.by_peer("allowed-ips")[peer].split()
    assert len(shown) == 2 * 65280
    assert set(shown) == {*v4, *v6}
    lab.wg("setconf", node.name, "/dev/stdin", stdin="")
    assert node.show("peers") == ""


def test_forty_peers_with_many_prefixes(lab):
    node = start(lab, lab.ns())
    keys = [str(PublicKey(bytes([number] * 32))) for number in range(1, 41)]
    lines = []
    for number, key in enumerate(keys, 1):
        lines += ["[Peer]", f"PublicKey={key}"]
        lines += [f"AllowedIPs={number}.{part}.0.0/16" for part in range(52)]
    lab.wg("addconf", node.name, "/dev/stdin", stdin="\n".join(lines))
    shown = node.by_peer("allowed-ips")
    assert list(shown) == keys
    assert {len(prefixes.split()) for prefixes in shown.values()} == {52}


def test_what_showconf_writes_can_be_set_again(lab):
    node = start(lab, lab.ns(), port=ONE_PORT)
    for number in range(1, 31):
        node.set(
            *("peer", keypair()[1], "allowed-ips", f"10.{number}.0.0/16,fd00:{number}::/32"),
            *("endpoint", f"192.0.2.{number}:{number}", "persistent-keepalive", number),
            *("preshared-key", secret(lab, keypair()[0])),
        )
    node.set("fwmark", "0x2a")
    written = lab.wg("showconf", node.name)
    assert written.count("[Peer]") == 30
    lab.wg("setconf", node.name, "/dev/stdin", stdin="[Interface]\n")
    assert lab.wg("showconf", node.name).count("[Peer]") == 0
    lab.wg("setconf", node.name, "/dev/stdin", stdin=written)
    assert lab.wg("showconf", node.name) == written
    lab.wg("syncconf", node.name, "/dev/stdin", stdin=written)
    assert lab.wg("showconf", node.name) == written


# --- refusals --------------------------------------------------------------------------------


def test_an_interface_that_is_not_is_not_shown(lab):
    with pytest.raises(LabError, match="Unable to access interface"):
        lab.wg("show", "doesnotexist")


def test_a_port_in_use_is_refused_and_the_old_one_serves_on(lab):
    one, two = tunnel(lab)
    with pytest.raises(LabError, match="Address already in use"):
        one.set("listen-port", two.show("listen-port"))
    assert one.show("listen-port") == str(ONE_PORT)
    assert two.ping(ONE_V4) == 1


def test_a_port_of_the_kernels_choice_is_shown(lab):
    one, two = tunnel(lab)
    one.set("listen-port", 0)
    port = int(one.show("listen-port"))
    assert port not in (0, ONE_PORT)
    assert one.ping(TWO_V4) == 1
    assert two.endpoint(one) == f"127.0.0.1:{port}"
