"""YAML as texts with lines: what is read, what is refused, at which line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netmgr.wire import yamltext
from netmgr.wire.yamltext import Entries, Faults, Items, Pair, Scalar, read_tree


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.param == "python":
        monkeypatch.setattr(yamltext, "_LOADER", yaml.SafeLoader)


def fault_of(text: str | bytes) -> str:
    faults = Faults("f")
    assert read_tree(text, faults) is None
    (error,) = faults.errors
    return error


def test_a_tree_holds_texts_and_their_lines():
    faults = Faults("f")
    tree = read_tree("a: 1\nb:\n- x\n- 'null'\n- ~\n", faults)
    items = Items(3, [Scalar(3, "x"), Scalar(4, "null", plain=False), Scalar(5, "~")])
    assert tree == Entries(1, [Pair(1, "a", Scalar(1, "1")), Pair(2, "b", items)])
    assert [node.is_null for node in items.nodes if isinstance(node, Scalar)] == [
        False,
        False,
        True,
    ]
    assert faults.errors == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "~", b""])
def test_an_empty_text_is_no_tree_and_no_fault(text: str | bytes):
    faults = Faults("f")
    assert read_tree(text, faults) is None
    assert faults.errors == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\n---\nb: 2\n", 2, "a second document"),
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key is one word"),
        ("[" * 20 + "]" * 20, 1, "nested more than 16 deep"),
        ("a: 1\n  b: 2\n", 2, "; keys of one level begin below each other, indented with"),
        ("a:\n  b: 1\n c: 2\n", 3, "; keys of one level begin below each other"),
        ("a:\n  - b: 1\n   c: 2\n", 3, "; keys of one level begin below each other"),
        ("a: {b: 1\nc: 2\n", 2, "no YAML"),
        ("a:\n\tb: 1\n", 2, "with spaces, not with tabs"),
        ("a: 1\ne: [2001:db8::1]:50001\n", 2, 'put an IPv6 endpoint in quotes: "[2001'),
        ("a: \x01\n", 1, "a character that has no place"),
        (b"a: \xff", 1, "UTF-8"),
        ("a: \ud800", 1, "UTF-8"),
        ("#" * (yamltext.MAX_SIZE + 1), 1, "larger than 1 MiB"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str | bytes, line: int, words: str):
    error = fault_of(text)
    assert error.startswith(f"f:{line}: ")
    assert words in error


def test_a_thousand_faults_are_not_all_kept_and_each_is_one_short_line():
    faults = Faults("f")
    for number in range(1000):
        faults.error(number, "a\n" * 1000)
        faults.warn(number, "b")
    assert len(faults.errors) == len(faults.warnings) == 100
    assert all(len(each.splitlines()) == 1 and len(each) < 400 for each in faults.errors)


@given(st.one_of(st.text(), st.binary(), st.text("[]{}:-,&*!|>'\"%@` \n\ta1#?~")))
def test_any_text_gives_a_tree_or_one_line(text: str | bytes):
    faults = Faults("f")
    read_tree(text, faults)
    assert all(len(each.splitlines()) == 1 for each in faults.errors)
