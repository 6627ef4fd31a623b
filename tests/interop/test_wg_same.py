"""`wg` says the same of our node as of wireguard-go and the kernel, given the same words.

wireguard-go lists peers in no order, so peers are sorted where it takes part.
"""

import base64
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests import foreign, kernel_vm
from tests.interop.rig import KERNEL, OUR_ENDS, STDIN, Kernel, Program, Side
from tests.kernel_vm import KernelVm
from tests.lab import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.needs("wg"),
]
GO = "wireguard-go"
END = "ended with"

PRIVATE = "kK6mHnpbUIJc9TDB2qfN2b+MP6OqIgrQgDTTxsOyV2Q="
OTHER_PRIVATE = "SBlNkVtV5Ch4DZTNtFuTqVw2qJrX+Zv7gQ6cJ0p5cVY="
PSK = "9yU3bY5yAJFp7S0m5Hcf4bcY6hjGmWlMS5bPRkqUZVg="
A, B, C, D, E = (f"{letter * 42}A=" for letter in "abcde")
NO_KEY = "/dev/null"

# What a saying of `wg` is, and what it reads as STDIN.
Saying = tuple[str, str]


class Twins(NamedTuple):
    """Our node and another, configured alike; `ordered` if both keep the order of peers.

    `shows` is how to look at them: an emulated machine takes its time for each.
    """

    ours: Side
    theirs: Side
    shows: tuple[Saying, ...]
    ordered: bool


@pytest.fixture(scope="module", params=[GO, KERNEL])
def twins(request: pytest.FixtureRequest, swept: None) -> Iterator[Twins]:
    with Lab() as lab:
        ours = Program(lab, lab.ns(), OUR_ENDS, None)
        if request.param == KERNEL:
            kernel_vm.require()
            with KernelVm.user(lab) as vm:
                yield Twins(ours, Kernel(vm, OUR_ENDS), SHOWS[:2], True)
        else:
            foreign.require(GO)
            yield Twins(ours, Program(lab, lab.ns(), OUR_ENDS, GO), SHOWS, False)


CLEAN = (f"setconf IF {STDIN}", "[Interface]\nListenPort = 7000\n")
SHOWS = tuple(
    (words, "")
    for words in (
        "showconf IF",
        "show IF dump",
        "show IF",
        "show IF public-key",
        "show IF private-key",
        "show IF listen-port",
        "show IF fwmark",
        "show IF peers",
        "show IF preshared-keys",
        "show IF endpoints",
        "show IF allowed-ips",
        "show IF latest-handshakes",
        "show IF transfer",
        "show IF persistent-keepalive",
    )
)


def said(side: Side, sayings: list[Saying]) -> list[str]:
    """Return for each saying what `wg` prints and how it ends; IF is the interface.

    All of them are said by one script.
    """
    lines = ["export WG_ENDPOINT_RESOLUTION_RETRIES=0", "file=$(mktemp)"]
    for words, stdin in sayings:
        given = base64.b64encode(stdin.encode()).decode()
        command = f"wg {words.replace('IF', side.interface)}"
        lines.append(f"echo {given} | base64 -d >$file; {command} <$file 2>&1; echo {END} $?")
    text = side.shell("\n".join([*lines, "rm $file"])).replace(side.interface, "IF")
    answers = re.findall(rf"(?s)(.*?){END} (\d+)\n", text)
    assert len(answers) == len(sayings), text
    return [text if code == "0" else f"failed {code}\n{text}" for text, code in answers]


def sort_peers(text: str) -> str:
    """Return text with its peers in alphabetical order, be they lines or blocks."""
    if "peer: " in text or "[Peer]" in text:
        head, *blocks = re.split(r"\n(?=peer: |\[Peer\])", text.rstrip("\n"))
        return "\n".join([head, *sorted(block.rstrip("\n") for block in blocks)])
    return "\n".join(sorted(text.splitlines()))


def same(twins: Twins, *sayings: Saying) -> list[str]:
    """Begin with a clean interface, say the words to both and expect the same answers.

    After each saying everything that shows the interface is compared too. Returns what each
    saying printed, with the following `showconf`, by turns.
    """
    script = [step for saying in (CLEAN, *sayings) for step in (saying, *twins.shows)]
    ours, theirs = (said(side, script) for side in (twins.ours, twins.theirs))
    for (words, _), mine, other in zip(script, ours, theirs, strict=True):
        if twins.ordered:
            assert mine == other, words
        else:
            assert sort_peers(mine) == sort_peers(other), words
    step = 1 + len(twins.shows)
    return [text for n in range(step, len(ours), step) for text in ours[n : n + 2]]


def test_of_a_bare_interface(twins: Twins):
    assert same(twins, ("show IF", "")) == [
        "interface: IF\n  listening port: 7000\n",
        "[Interface]\nListenPort = 7000\n\n",
    ]


MANY = "".join(
    f"[Peer]\nPublicKey = {chr(97 + n) * 42}A=\n"
    f"AllowedIPs = 10.{n}.0.0/16, fd00:{n:x}::/32, 192.0.2.{n}\n"
    f"Endpoint = 198.51.100.{n}:1234\n"
    for n in range(20)
)
CONFIGURATIONS = {
    "identity": f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 7001\nFwMark = 0x1234\n",
    "everything": (
        f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 7002\nFwMark = 51820\n"
        f"[Peer]\nPublicKey = {A}\nPresharedKey = {PSK}\nAllowedIPs = 10.1.2.3/8, 0.0.0.0/0\n"
        "Endpoint = 192.0.2.9:51820\n"
        f"[Peer]\nPublicKey = {B}\nAllowedIPs = fd00::1/64, ::/0, fd00::1\n"
        "Endpoint = [2001:db8::7]:1\n"
        f"[Peer]\nPublicKey = {C}\nPersistentKeepalive = 65535\n"
        f"[Peer]\nPublicKey = {D}\nPersistentKeepalive = 1\n"
    ),
    "endpoints": (
        f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 7003\n"
        f"[Peer]\nPublicKey = {A}\nEndpoint = [fe80::1%lo]:51820\n"
        f"[Peer]\nPublicKey = {B}\nEndpoint = [2001:db8:0:0:1::]:65535\n"
        f"[Peer]\nPublicKey = {C}\nEndpoint = 255.255.255.255:9\n"
    ),
    "moves": (
        "[Interface]\nListenPort = 7004\n"
        f"[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.0/24, ::/0\n"
        f"[Peer]\nPublicKey = {B}\nAllowedIPs = 10.0.0.0/24, 10.0.0.0/25\n"
        f"[Peer]\nPublicKey = {C}\nAllowedIPs = ::/0, 10.0.0.0/25, 10.0.0.0/26, 10.0.0.0/26\n"
    ),
    "again": (
        f"[Interface]\nListenPort = 7005\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.1\n"
        f"PersistentKeepalive = 9\n[Peer]\nPublicKey = {A}\nAllowedIPs = 10.0.0.2\n"
    ),
    "many": f"[Interface]\nPrivateKey = {OTHER_PRIVATE}\nListenPort = 7006\n{MANY}",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_of_what_setconf_sets(twins: Twins, name):
    """And what `showconf` prints of it is a configuration that changes nothing."""
    setting = (f"setconf IF {STDIN}", CONFIGURATIONS[name])
    _, shown = said(twins.ours, [setting, SHOWS[0]])
    assert "[Interface]" in shown
    again = [(f"{verb} IF {STDIN}", shown) for verb in ("syncconf", "setconf")]
    assert same(twins, setting, *again)[2:] == ["", shown] * 2


@pytest.mark.parametrize("verb", ["addconf", "syncconf"])
def test_of_what_is_added_or_synced(twins: Twins, verb):
    change = (
        f"[Interface]\nListenPort = 7009\n"
        f"[Peer]\nPublicKey = {B}\nAllowedIPs = 10.9.0.0/16\nEndpoint = 192.0.2.77:7\n"
        f"[Peer]\nPublicKey = {E}\nPresharedKey = {PSK}\nAllowedIPs = 0.0.0.0/0\n"
    )
    setting = (f"setconf IF {STDIN}", CONFIGURATIONS["everything"])
    *_, shown = same(twins, setting, (f"{verb} IF {STDIN}", change))
    assert (A in shown) == (verb == "addconf")
    assert "10.9.0.0/16" in shown


def test_of_what_is_set_step_by_step(twins: Twins):
    steps = (
        (f"set IF private-key {STDIN} listen-port 7010 fwmark 0x10", PRIVATE),
        (f"set IF peer {A} allowed-ips 10.0.0.0/8,10.1.0.0/16,fd00::/8", ""),
        (f"set IF peer {A} persistent-keepalive 10", ""),
        (f"set IF peer {B} allowed-ips 10.1.0.0/16 endpoint 192.0.2.9:9 peer {C}", ""),
        (f"set IF peer {A} allowed-ips 10.2.0.0/16", ""),
        (f"set IF peer {A} allowed-ips '' persistent-keepalive off", ""),
        (f"set IF peer {B} endpoint [fe80::9%lo]:9", ""),
        (f"set IF peer {B} remove peer {B} allowed-ips 10.5.5.5", ""),
        (f"set IF peer {D} remove", ""),
        ("set IF fwmark off listen-port 7011", ""),
        (f"set IF peer {A} persistent-keepalive 0 peer {C} persistent-keepalive 65535", ""),
        (f"set IF peer {A} preshared-key {STDIN}", PSK),
        (f"set IF peer {A} preshared-key {NO_KEY}", ""),
        (f"set IF private-key {NO_KEY}", ""),
    )
    answers = same(twins, *steps)
    assert set(answers[::2]) == {""}
    assert [PSK in shown for shown in answers[1::2]] == [False] * 11 + [True, False, False]


def test_of_keys_that_are_one_key(twins: Twins):
    """Private keys are clamped; a peer that has our own key is not taken, or goes."""
    own = "/" * 42 + "8="
    public = said(twins.ours, [("pubkey", own)])[0].strip()
    answers = same(
        twins,
        (f"set IF private-key {STDIN}", own),
        (f"set IF peer {public} allowed-ips 10.0.0.0/8", ""),
        (f"set IF private-key {STDIN}", PRIVATE),
        (f"set IF peer {public} allowed-ips 10.0.0.0/8", ""),
        (f"set IF private-key {STDIN}", own),
    )
    assert [f"PublicKey = {public}" in shown for shown in answers[1::2]] == [
        *(False, False, False),
        *(True, False),
    ]


def test_of_what_is_wrong(twins: Twins):
    wrong = (
        ("set IF fwmark 0x100000000", ""),
        (f"set IF peer {A[:-2]} remove", ""),
        (f"set IF peer {A} endpoint 192.0.2.1", ""),
        (f"set IF peer {A} allowed-ips 10.0.0.0/33", ""),
        (f"set IF peer {A} allowed-ips fd00::/129", ""),
        (f"set IF peer {A} persistent-keepalive 65536", ""),
        (f"set IF private-key {STDIN}", "no key"),
        (f"setconf IF {STDIN}", "[Peer]\n"),
        (f"setconf IF {STDIN}", "nonsense"),
        ("show IF nothing", ""),
    )
    for answer in same(twins, *wrong)[::2]:
        assert answer.startswith("failed 1\n")


def test_of_a_port_in_use(twins: Twins):
    """The words are the same; what else stood in the change is not made by us."""
    for side in (twins.ours, twins.theirs):
        occupy(side, 7020)
    sayings = [CLEAN, (f"set IF listen-port 7020 peer {A}", ""), ("showconf IF", "")]
    ours, theirs = (said(side, sayings) for side in (twins.ours, twins.theirs))
    assert ours[1] == theirs[1]
    assert "Address already in use" in ours[1]
    assert ours[2] == "[Interface]\nListenPort = 7000\n\n"


def occupy(side: Side, port: int) -> None:
    """Let another program, or another interface, have a port where a side has its own."""
    if isinstance(side, Kernel):
        side.shell(f"ip link add wg1 type wireguard; wg set wg1 listen-port {port}")
        side.shell("ip link set wg1 up")
        return
    assert isinstance(side, Program)
    code = f"import socket; s = socket.socket(2, 2); s.bind(('', {port})); print('bound')"
    holder = side.lab.spawn(side.ns, sys.executable, "-uc", f"{code}; s.recv(1)")
    holder.wait_log("bound")
