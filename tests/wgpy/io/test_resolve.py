"""Names of endpoints, as far as no name server is needed."""

import pytest

from wgpy.errors import ConfigError
from wgpy.io.resolve import resolve_endpoint, retries_allowed
from wgpy.model import Endpoint
from wgpy.wire.text import parse_address


def say(line: str) -> None:
    raise AssertionError(line)


def test_the_number_of_retries_is_that_of_wg():
    assert retries_allowed({}) == 15
    assert retries_allowed({"WG_ENDPOINT_RESOLUTION_RETRIES": "3"}) == 3
    assert retries_allowed({"WG_ENDPOINT_RESOLUTION_RETRIES": "infinity"}) == float("inf")
    with pytest.raises(ConfigError, match="neither a number"):
        retries_allowed({"WG_ENDPOINT_RESOLUTION_RETRIES": "-1"})


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1"), ("::ffff:1.2.3.4", "1.2.3.4")],
)
def test_addresses_need_no_name_server(host: str, address: str):
    assert resolve_endpoint(host, 7, 0, say=say) == Endpoint(parse_address(address), 7)


def test_a_zone_becomes_the_number_of_the_interface():
    assert resolve_endpoint("fe80::1%lo", 7, 0, say=say).scope == 1


def test_a_name_of_this_host_is_found():
    found = resolve_endpoint("localhost", 7, 0, say=say)
    assert found.host in (parse_address("127.0.0.1"), parse_address("::1"))


@pytest.mark.parametrize("host", ["fe80::1%nosuchif", "a" * 70 + ".example", "::1::"])
def test_what_cannot_be_a_host_fails_at_once(host: str):
    with pytest.raises(ConfigError) as caught:
        resolve_endpoint(host, 7, 99, say=say)
    assert "\n" not in str(caught.value)
