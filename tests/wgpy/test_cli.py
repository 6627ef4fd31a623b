"""The command line: what is a command, what an interface, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wgpy.cli import Launch, main, read_launch, refuse_mistyped
from wgpy.command_names import COMMANDS, similar_command
from wgpy.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("line", "launch"),
    [
        ("wg0", Launch("wg0", foreground=False)),
        ("-f wg0", Launch("wg0", foreground=True)),
        ("wg0 --foreground", Launch("wg0", foreground=True)),
        ("-- up", Launch("up", foreground=False, forced=True)),
        ("-f -- down", Launch("down", foreground=True, forced=True)),
        ("-- -x", Launch("-x", foreground=False, forced=True)),
        ("--", None),
        ("-- a b", None),
        ("up", None),
        ("help", None),
        ("version", None),
        ("up wg0", None),
        ("--help", None),
        ("", None),
    ],
)
def test_one_word_that_is_no_command_is_an_interface(line: str, launch: Launch | None):
    assert read_launch(line.split()) == launch


@pytest.mark.parametrize(
    ("word", "meant"),
    [("dwon", "down"), ("hlep", "help"), ("status", "show"), ("reolad", "reload")],
)
def test_a_mistyped_command_makes_no_interface(
    word: str, meant: str, capsys: pytest.CaptureFixture[str]
):
    assert main([word]) == 2
    assert capsys.readouterr().err == (
        f"wgpy: {word} is no command; did you mean {meant}? "
        f"(wgpy -- {word} makes an interface of that name)\n"
    )


@pytest.mark.parametrize("name", ["wg0", "up0", "home", "office", "vpn", "tun", "mullvad"])
def test_usual_names_of_interfaces_are_not_taken_for_commands(name: str):
    assert similar_command(name) is None


def test_a_name_from_wg_quick_or_after_two_dashes_is_meant():
    mistyped = Launch("dwon", foreground=False)
    with pytest.raises(UsageError):
        refuse_mistyped(mistyped, {})
    refuse_mistyped(mistyped, {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wgpy"})
    refuse_mistyped(mistyped, {"WG_TUN_FD": "3"})
    refuse_mistyped(mistyped._replace(forced=True), {})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_two_examples(
    command: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["help", command]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: wgpy {command}")
    assert text.partition("examples:\n")[2].count("  wgpy ") == 2


def test_help_and_version_are_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["help"]) == 0
    assert "examples:" in capsys.readouterr().out
    assert main(["version"]) == 0
    told = capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == told


def test_an_unknown_command_with_arguments_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["dwon", "wg0"]) == 2
    assert capsys.readouterr().err == "wgpy: dwon is no command; did you mean down?\n"
    assert main(["wg0", "wg1"]) == 2
    assert capsys.readouterr().err == "wgpy: wg0 is no command; wgpy help lists them\n"


def test_an_unknown_option_is_named_and_not_what_follows_it(capsys: pytest.CaptureFixture[str]):
    assert main(["--forward", "wg0"]) == 2
    told = capsys.readouterr().err
    assert told == "wgpy: --forward is no option of wgpy wg0; wgpy help lists the commands\n"


@pytest.mark.parametrize(
    "line",
    ["up", "up --nonsense wg0", "down a b", "demo --seconds 0", "demo --seconds -1"]
    + [f"demo --seconds {each}" for each in ("nan", "inf", "x")],
)
def test_wrong_arguments_show_the_usage_of_their_command(
    line: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"usage: wgpy {line.split()[0]} ")


@pytest.mark.parametrize("line", ["up ./a/name-that-is-too-long.conf", "show a/b", "down x/y"])
def test_a_wrong_name_is_wrong_use(line: str, capsys: pytest.CaptureFixture[str]):
    assert main(line.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", ["99999999999999", "9" * 5000, "-1"])
def test_an_inherited_descriptor_that_cannot_be_is_one_line(number: str):
    done = subprocess.run(
        [sys.executable, "-m", "wgpy", "-f", "wg0"],
        env={**os.environ, "WG_TUN_FD": number},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"wgpy: WG_TUN_FD={number[:40]}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("command", ["genkey", "help", "version"])
def test_output_that_cannot_be_written_is_one_line(command: str):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wgpy", command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert (done.returncode, done.stderr) == (1, "wgpy: No space left on device\n")


@pytest.mark.parametrize("command", ["genkey", "pubkey", "genpsk", "up", "reload", "show"])
def test_a_command_that_holds_keys_leaves_no_core_file(command: str):
    script = (
        "import ctypes, resource, sys; from wgpy.cli import main; main(sys.argv[1:]);"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0;"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)"
    )
    target = ["/nonexistent.conf"] if command in ("up", "reload") else []
    argv = [sys.executable, "-c", script, command, *target]
    done = subprocess.run(argv, input=b"", cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
