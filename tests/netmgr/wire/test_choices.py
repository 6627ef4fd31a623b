"""The table of options, and what the environment gives."""

import pytest

from netmgr.wire.choices import CHOICES, Given, choice, read_environment, unknown_variables
from wgpy.errors import UsageError


def test_no_two_options_share_a_name_anywhere():
    for names in (
        [each.name for each in CHOICES],
        [each.key for each in CHOICES if each.key],
        [each.variable for each in CHOICES],
        [flag for each in CHOICES for flag in each.flags],
    ):
        assert len(names) == len(set(names))


def test_the_letters_are_the_ancestors():
    letters = {each.flags[0]: each.name for each in CHOICES if len(each.flags[0]) == 2}
    assert letters == {
        "-c": "network_config",
        "-p": "peer_config",
        "-e": "existing",
        "-w": "listen_port",
        "-H": "hopping",
        "-u": "admin_port",
        "-l": "log_file",
        "-v": "verbosity",
        "-i": "interface",
        "-a": "address",
        "-n": "name",
    }


def test_the_environment_gives_options_and_lists():
    environ = {
        "NETMGR_NAME": "alice",
        "NETMGR_MTU": " ",
        "NETMGR_PEER": "a:1, b:2",
        "NETMGR_VIA": "0.0.0.0/0=bob,10.9.0.0/16=carol",
        "OTHER": "x",
    }
    assert read_environment(environ) == {
        "name": Given(("alice",), "NETMGR_NAME"),
        "peers": Given(("a:1", "b:2"), "NETMGR_PEER"),
        "via": Given(("0.0.0.0/0=bob", "10.9.0.0/16=carol"), "NETMGR_VIA"),
    }


def test_a_wrong_variable_is_named():
    with pytest.raises(UsageError, match=r"^NETMGR_MTU: 'big' is no MTU"):
        read_environment({"NETMGR_MTU": "big"})


def test_a_row_is_found_by_its_name():
    assert choice("name").flags == ("-n", "--name")


def test_a_mistyped_variable_is_told():
    environ = {"NETMGR_NMAE": "a", "NETMGR_XYZ": "b", "NETMGR_NAME": "c", "PATH": "d"}
    assert unknown_variables(environ) == [
        "'NETMGR_NMAE' is no variable and is not read; did you mean NETMGR_NAME?",
        "'NETMGR_XYZ' is no variable and is not read",
    ]
