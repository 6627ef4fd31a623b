import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgpy.errors import ConfigError
from wgpy.wire.conf_lines import Sections, fault, read_sections

SECRET = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="


def refusal(text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read_sections(text, "wg0.conf")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sections_and_keys_are_found_in_any_case_and_spacing():
    interface, peers = read_sections(
        b"\xef\xbb\xbf# mine\r\n[ INTERFACE ]\r\nlisten port=1 2#3\r\n\r\n postup = a  b \r\n"
        b"[peer]\nALLOWEDIPS = a, b\nAllowedIPs = c\n[Peer]",
        "f",
    )
    assert interface is not None
    assert interface.entries == {"ListenPort": [(3, "12")], "PostUp": [(5, "a  b")]}
    assert [peer.line for peer in peers] == [6, 9]
    assert peers[0].entries == {"AllowedIPs": [(7, "a,b"), (8, "c")]}


def test_an_empty_file_has_no_sections():
    assert read_sections("", "f") == Sections(None, ())


def test_values_are_read_with_their_place():
    (peer,) = read_sections("[Peer]\nAllowedIPs = a,b\nAllowedIPs = c", "f").peers
    assert peer.every("AllowedIPs", lambda text: text.split(",")) == ("a", "b", "c")
    assert peer.last("AllowedIPs", str.upper) == "C"
    assert peer.every("Endpoint", list) == ()
    assert peer.last("Endpoint", str) is None

    def refuse(text: str) -> str:
        raise ConfigError(f"no {text}")

    with pytest.raises(ConfigError, match=r"^f:2: AllowedIPs: no a,b$"):
        peer.last("AllowedIPs", refuse)


def test_a_fault_names_its_place():
    assert str(fault("f", 3, "why")) == "f:3: why"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[Peer]\n\xff", "wg0.conf:2: not UTF-8"),
        ("[Peer]\n\0", "wg0.conf:2: a NUL character"),
        ("[Pear]", "wg0.conf:1: unknown section '[Pear]': [Interface] or [Peer]"),
        (
            "[Interface]\n[Peer]\n[Interface]",
            "wg0.conf:3: [Interface] is given twice, first on line 1",
        ),
        ("[Peer]\nx", 'wg0.conf:2: this line has no "=": write KEY = VALUE'),
        ("MTU=1", "wg0.conf:1: a key before the first section: begin with [Interface]"),
        (
            "[Peer]\n\nAllowdIPs = x",
            'wg0.conf:3: unknown key "AllowdIPs" in [Peer]; did you mean AllowedIPs?',
        ),
        (
            "[Peer]\nprivatekey = x",
            'wg0.conf:2: unknown key "privatekey" in [Peer]; PrivateKey belongs in [Interface]',
        ),
        ("[Peer]\nzzz = x", 'wg0.conf:2: unknown key "zzz" in [Peer]'),
    ],
)
def test_a_file_is_refused_with_the_place_and_the_reason(text, message):
    assert refusal(text) == message


@pytest.mark.parametrize(
    "line", [SECRET, SECRET[:-1], f"Private Kee = {SECRET}", "ab" * 32 + "="]
)
def test_no_refusal_repeats_a_secret(line):
    message = refusal(f"[Interface]\n{line}")
    assert SECRET[:8] not in message
    assert "abab" not in message


def test_sections_show_no_keys():
    assert SECRET not in repr(read_sections(f"[Interface]\nPrivateKey={SECRET}", "f"))


@given(st.text() | st.binary() | st.text("[]=#Peer Interface\nMTU\0"))
def test_any_file_is_sections_or_one_line(text):
    try:
        assert isinstance(read_sections(text, "f"), Sections)
    except ConfigError as error:
        assert str(error).startswith("f:")
        assert "\n" not in str(error)
