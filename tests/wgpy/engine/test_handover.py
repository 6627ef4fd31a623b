"""What an interface that goes leaves to one that stays."""

from dataclasses import replace

from wgpy.engine.handover import hand_over, still_needed
from wgpy.hostmodel import CreateInterface, DnsBackend, SetDns, SetSysctl


def test_the_last_of_two_restores_what_the_first_found():
    first = SetSysctl("x", "1", "0")
    second = SetSysctl("x", "1", "1")
    assert hand_over([first], [second]) == (first,)
    assert hand_over([second], [first]) == (first,)
    assert hand_over([first], [SetSysctl("y", "1", "1")]) == (SetSysctl("y", "1", "1"),)
    assert still_needed(first, [second])
    assert not still_needed(first, [])
    assert not still_needed(CreateInterface("wg0"), [second])


def test_a_replaced_resolv_conf_passes_on_what_it_replaced():
    first = SetDns("wg0", ("192.0.2.1",), (), DnsBackend.FILE, "old\n")
    second = SetDns("wg1", ("192.0.2.2",), (), DnsBackend.FILE, first.file_text())
    assert hand_over([first], [second]) == (replace(second, old="old\n"),)
    assert hand_over([second], [first]) == (first,)
