"""From what a user names to what it wants of the host."""

from pathlib import Path

import pytest

from wgpy import quickfile
from wgpy.errors import ConfigError
from wgpy.hostmodel import Routing
from wgpy.model import Endpoint, InterfaceAddress
from wgpy.wire.text import parse_address

KEY = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
FILE = f"""[Interface]
PrivateKey = {KEY}
Address = 10.0.0.7/24
Table = 99
DNS = 192.0.2.1, lan
PostUp = true
[Peer]
PublicKey = {KEY}
Endpoint = 192.0.2.2:5
"""


def test_a_name_stands_for_its_file_in_the_system_folder(tmp_path: Path):
    assert quickfile.locate("wg0", str(tmp_path)) == ("wg0", f"{tmp_path}/wg0.conf")


def test_a_path_names_the_interface(tmp_path: Path):
    path = str(tmp_path / "wg-1.conf")
    assert quickfile.locate(path) == ("wg-1", path)
    assert quickfile.locate("wg0.conf").name == "wg0"


def test_a_name_that_ends_in_conf_may_be_in_the_system_folder(tmp_path: Path):
    (tmp_path / "wg0.conf.conf").touch()
    assert quickfile.locate("wg0.conf", str(tmp_path)).name == "wg0.conf"


@pytest.mark.parametrize(
    "target", ["", "a name", "./wg0", "./name-that-is-too-long.conf", "x/y", "..", "./..conf"]
)
def test_what_names_no_interface_is_one_line(target: str):
    with pytest.raises(ConfigError) as caught:
        quickfile.locate(target)
    assert "\n" not in str(caught.value)


def test_a_file_becomes_what_is_wanted(tmp_path: Path):
    path = tmp_path / "wg0.conf"
    path.write_text(FILE)
    path.chmod(0o644)
    heard: list[str] = []
    source = quickfile.locate(str(path))
    want = quickfile.wanted("wg0", quickfile.load(source, heard.append), heard.append)
    assert len(heard) == 1
    assert "others may read" in heard[0]
    assert want.addresses == (InterfaceAddress(parse_address("10.0.0.7"), 24),)
    assert want.table == 99
    assert (want.dns_servers, want.dns_search) == (("192.0.2.1",), ("lan",))
    assert want.device.peers[0].endpoint == Endpoint(parse_address("192.0.2.2"), 5)
    assert want.hooks.post_up == ("true",)


def test_no_table_is_automatic(tmp_path: Path):
    path = tmp_path / "wg0.conf"
    path.write_text("[Interface]\n")
    path.chmod(0o600)
    config = quickfile.load(quickfile.locate(str(path)), pytest.fail)
    assert quickfile.wanted("wg0", config, pytest.fail).table is Routing.AUTO
