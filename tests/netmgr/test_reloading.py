"""What a running node cannot follow is told."""

from dataclasses import replace

import pytest

from netmgr import reloading
from netmgr.model import NetworkFile, Settings
from wgpy.errors import ConfigError
from wgpy.model import Secret
from wgpy.wire.text import parse_address, parse_prefix

NETWORK = NetworkFile(Secret(bytes(32)), parse_prefix("10.1.1.0/24"))
BOB = Settings(NETWORK, "bob", parse_address("10.1.1.2"), "wg0", 50002)
RESTART = "has changed: that takes a restart"


def test_what_can_be_followed_is_not_refused():
    fresh = replace(BOB, name="bobby", mtu=1280, exit_node=True, verbosity=3, log_json=True)
    reloading.refuse(BOB, fresh, has_ipv6=True)
    reloading.refuse(BOB, replace(BOB, mtu=576), has_ipv6=False)
    assert reloading.follow(BOB, fresh) == ("reloaded", fresh)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"address": parse_address("10.1.1.3")}, f"wgIp {RESTART}"),
        ({"interface": "wg1"}, f"wgInterface {RESTART}"),
        ({"listen_port": 7}, f"wireguardPort {RESTART}"),
        ({"admin_port": 7}, f"adminPort {RESTART}"),
        (
            {"state": "/tmp/x", "interface": "wg1"},
            "wgInterface, state have changed: that takes a restart",
        ),
        (
            {"network": replace(NETWORK, shared_key=Secret(bytes(31) + b"\1"))},
            f"network.sharedKey {RESTART}",
        ),
        (
            {"network": replace(NETWORK, subnet=parse_prefix("10.1.0.0/16"))},
            f"network.subnet {RESTART}",
        ),
        ({"mtu": 1279}, "mtu: below 1280 there is no IPv6 on an interface"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(change: dict[str, object], why: str):
    with pytest.raises(ConfigError) as caught:
        reloading.refuse(BOB, replace(BOB, **change), has_ipv6=True)  # type: ignore[arg-type]
    assert str(caught.value) == why


def test_what_waits_for_the_next_start_is_named():
    settings = BOB
    for mtu in (1300, 1400):
        told, settings = reloading.follow(settings, replace(BOB, existing=True, mtu=mtu))
        assert told == "reloaded; existingInterface takes a restart"
        assert settings == replace(BOB, mtu=mtu)
