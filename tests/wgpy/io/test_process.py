import ctypes
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from wgpy.errors import ConfigError
from wgpy.io import process

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
DEADLINE = 60.0
ROOT = Path(__file__).parents[3]

PRELUDE = """
import json, os, signal, sys
from wgpy.io.process import *
tell = int(sys.argv[1])
"""
# What a started process says about itself once it is ready.
DESCRIBE = """
links = [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]
about = {"links": links, "cwd": os.getcwd(), "leads": os.getsid(0) == os.getpid()}
os.write(tell, json.dumps(about).encode())
"""


def start(script: str, **options) -> tuple[subprocess.Popen[bytes], int]:
    """Run a script that may write to us; return it and the end to read from until EOF."""
    read_end, write_end = os.pipe()
    launched = subprocess.Popen(
        [sys.executable, "-E", "-c", PRELUDE + script, str(write_end)],
        pass_fds=[write_end],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
    os.close(write_end)
    return launched, read_end


def finish(launched: subprocess.Popen[bytes], read_end: int) -> tuple[int, str, str]:
    """Return the launcher's status, its standard error and what the script wrote to us."""
    with open(read_end, "rb") as told:
        _, error = launched.communicate(timeout=DEADLINE)
        return launched.returncode, error.decode(), told.read().decode()


def run(script: str) -> tuple[int, str, str]:
    return finish(*start(script))


# --- background start ---


def test_the_parent_exits_0_when_the_child_is_ready_and_the_child_has_let_go():
    code, error, told = run("detach().ready()" + DESCRIBE)
    assert (code, error) == (0, "")
    assert json.loads(told) == {"links": ["/dev/null"] * 3, "cwd": "/", "leads": True}


def test_a_child_told_to_log_keeps_output_and_error_but_not_input():
    _, _, told = run("detach(keep_output=True).ready()" + DESCRIBE)
    links = json.loads(told)["links"]
    assert links[0] == "/dev/null"
    assert all(link.startswith("pipe:") for link in links[1:])


def test_ready_in_the_foreground_changes_nothing():
    code, _, told = run("Readiness().ready()" + DESCRIBE)
    about = json.loads(told)
    assert code == 0
    assert about["cwd"] == os.getcwd()
    assert about["links"][1].startswith("pipe:")


@pytest.mark.parametrize("code", [1, 2])
def test_a_failing_child_gives_the_parent_its_line_and_its_status(code):
    script = f"detach(); print('wgpy: no such key', file=sys.stderr); sys.exit({code})"
    assert run(script)[:2] == (code, "wgpy: no such key\n")


def test_the_parent_of_a_killed_child_says_so_and_exits_1():
    code, error, _ = run("detach(); os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 1
    assert error == (
        "wgpy: the interface is not up: it was killed by signal 9 before it was ready\n"
    )


def test_a_child_that_ends_without_being_ready_is_no_success():
    code, error, _ = run("detach(); sys.exit(0)")
    assert code == 1
    assert "it ended before it was ready" in error


def test_a_signal_to_the_waiting_parent_ends_the_child():
    launched, read_end = start("detach(); os.write(tell, b'up'); signal.pause()")
    assert os.read(read_end, 2) == b"up"
    launched.send_signal(signal.SIGTERM)
    code, error, _ = finish(launched, read_end)
    assert code == 1
    assert "killed by signal 15" in error


def test_the_child_goes_on_if_its_parent_is_killed():
    go_on, go = os.pipe()
    script = f"it = detach(); os.write(tell, b'up'); os.read({go_on}, 1); it.ready()"
    read_end, write_end = os.pipe()
    launched = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script + DESCRIBE, str(write_end)],
        pass_fds=[write_end, go_on],
    )
    os.close(write_end)
    os.close(go_on)
    assert os.read(read_end, 2) == b"up"
    launched.kill()
    launched.wait(DEADLINE)
    os.write(go, b"g")
    os.close(go)
    with open(read_end, "rb") as told:
        assert json.loads(told.read())["leads"]


def test_a_start_with_closed_standard_files_works():
    script = "detach().ready()" + DESCRIBE
    launched, read_end = start(
        f"os.execv('/bin/sh', ['sh', '-c', 'exec \"$0\" -c \"$1\" $2 0<&- 1>&- 2>&-', "
        f"sys.executable, {PRELUDE + script!r}, sys.argv[1]])"
    )
    code, _, told = finish(launched, read_end)
    assert code == 0
    assert json.loads(told)["links"] == ["/dev/null"] * 3


@pytest.mark.parametrize("end", ["it.ready()", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_printed_before_is_printed_once(end):
    launched, read_end = start(f"print('hello'); it = detach(keep_output=True); {end}")
    output, _ = launched.communicate(timeout=DEADLINE)
    os.close(read_end)
    assert output == b"hello\n"


@pytest.mark.parametrize(
    ("environ", "kept"),
    [
        ({}, False),
        ({"LOG_LEVEL": ""}, False),
        ({"LOG_LEVEL": "silent"}, False),
        ({"LOG_LEVEL": "debug"}, True),
    ],
)
def test_log_level_says_whether_output_is_kept(environ, kept):
    assert process.output_kept(environ) is kept


def test_the_launching_parent_loads_nothing_heavy():
    heavy = "asyncio", "cryptography", "ctypes", "logging", "numpy", "pyroute2", "threading"
    script = f"os.write(tell, ' '.join(m for m in {heavy} if m in sys.modules).encode())"
    assert run(script) == (0, "", "")


# --- privileges ---

STATUS = """
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
os.write(tell, json.dumps(status).encode())
"""


@pytest.mark.root
@is_root
def test_dropped_privileges_leave_what_is_needed_and_no_way_back():
    code, error, told = run("drop_privileges()" + STATUS)
    assert (code, error) == (0, "")
    status = json.loads(told)
    kept = 1 << 12 | 1 << 10
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert int(status["CapBnd"], 16) == int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Uid"].split() == ["0"] * 4


@pytest.mark.root
@is_root
def test_a_program_started_after_the_drop_has_no_capability():
    script = """
drop_privileges()
import subprocess
out = subprocess.run(["grep", "-E", "Cap(Eff|Prm)", "/proc/self/status"], capture_output=True)
os.write(tell, out.stdout)
"""
    assert [int(line.split()[1], 16) for line in run(script)[2].splitlines()] == [0, 0]


@pytest.mark.root
@is_root
def test_a_second_drop_keeps_the_intersection():
    script = """
drop_privileges({"CAP_NET_ADMIN", "CAP_SETPCAP"})
drop_privileges({"CAP_NET_ADMIN", "CAP_KILL"})
os.write(tell, " ".join(capabilities()).encode())
"""
    assert run(script) == (0, "", "CAP_NET_ADMIN")


@pytest.mark.root
@is_root
def test_after_the_drop_a_low_port_a_mark_a_tun_and_an_own_file_still_work(tmp_path):
    script = f"""
import fcntl, socket, struct
drop_privileges()
forbid_core_dumps()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, 36, 51820)
udp.bind(("127.0.0.77", 53))
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"wgpytdrop%d", 0x1001))
open({str(tmp_path)!r} + "/x", "w").close()
os.unlink({str(tmp_path)!r} + "/x")
os.write(tell, b"all")
"""
    assert run(script) == (0, "", "all")


@pytest.mark.root
@is_root
def test_threads_before_the_drop_are_refused():
    script = "import threading; threading.Thread(target=signal.pause, daemon=True).start()\n"
    code, error, _ = run(script + "drop_privileges()")
    assert code == 1
    assert "other threads would keep" in error


@pytest.mark.root
@is_root
def test_without_privileges_the_missing_ones_are_named_with_the_way_to_get_them():
    script = """
drop_privileges(())
os.write(tell, missing_privileges("/dev/null").encode())
"""
    told = run(script)[2]
    assert "no CAP_NET_ADMIN" in told
    for way in ("docker", "podman", "--cap-add NET_ADMIN", "AmbientCapabilities="):
        assert way in told


def test_a_missing_or_forbidden_tun_device_is_named_with_the_way_to_get_it(tmp_path):
    missing = process.missing_privileges(str(tmp_path / "tun"))
    assert missing is not None
    assert f"no {tmp_path}/tun: " in missing
    assert "--device" in missing
    forbidden = process.missing_privileges(str(tmp_path))
    assert forbidden is not None
    assert f"{tmp_path} cannot be opened (Is a directory)" in forbidden
    assert "\n" not in missing + forbidden


@pytest.mark.root
@is_root
def test_root_with_a_tun_device_lacks_nothing():
    if not os.path.exists(process.TUN_DEVICE):
        pytest.skip("no /dev/net/tun")
    assert process.missing_privileges() is None


def test_no_core_is_dumped_and_the_process_still_reads_its_proc():
    script = """
forbid_core_dumps()
import ctypes, resource
assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert os.listdir("/proc/self/fd") and os.readlink("/proc/self/ns/net")
capabilities()
os.write(tell, b"all")
"""
    assert run(script) == (0, "", "all")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_buffers_of_bursts_cost_no_page_faults():
    script = """
import resource
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        kept = [bytearray(66_000) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
keep_freed_memory()
faults()
assert faults() < 100 < usual, usual
os.write(tell, b"all")
"""
    assert run(script) == (0, "", "all")


# --- private files ---


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_file_that_others_may_read_is_warned_about(tmp_path, mode, warned):
    path = tmp_path / "key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    content, warning = process.read_secret_file(str(path))
    assert content == b"secret"
    if warned:
        assert warning == (
            f"{path}: others may read these keys (mode {mode:04o}); chmod 600 {path}"
        )
    else:
        assert warning is None


def test_a_pipe_is_read_to_its_end_without_a_warning():
    read_end, write_end = os.pipe()
    os.write(write_end, b"key")
    os.close(write_end)
    assert process.read_secret_file(f"/dev/fd/{read_end}") == (b"key", None)
    os.close(read_end)


@pytest.mark.parametrize(("name", "why"), [("none", "No such file"), ("", "Is a directory")])
def test_a_key_file_that_cannot_be_read_is_one_line(tmp_path, name, why):
    with pytest.raises(ConfigError, match=why) as caught:
        process.read_secret_file(str(tmp_path / name))
    assert str(tmp_path) in str(caught.value)


def test_a_key_file_without_end_is_refused():
    with pytest.raises(ConfigError, match="larger than 64 MiB"):
        process.read_secret_file("/dev/zero")


def test_a_private_file_is_replaced_whole_with_mode_600(tmp_path):
    path = tmp_path / "wg0.conf"
    path.write_bytes(b"old")
    path.chmod(0o644)
    (tmp_path / f".wg0.conf.{os.getpid()}.new").write_bytes(b"left by a killed process")
    process.write_whole(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["wg0.conf"]


def test_a_private_file_is_written_where_a_link_points(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    process.write_whole(str(tmp_path / "link"), b"x")
    assert (tmp_path / "real").read_bytes() == b"x"
    assert (tmp_path / "link").is_symlink()


def test_a_private_file_that_cannot_be_written_leaves_no_draft(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        process.write_whole(str(tmp_path / "folder"), b"x")
    assert os.listdir(tmp_path) == ["folder"]


# --- itself ----------------------------------------------------------------


def test_modules_of_the_working_directory_are_not_loaded(tmp_path, monkeypatch):
    """Root may type `wgpy up` where anybody may write."""
    (tmp_path / "resource.py").write_text("raise SystemExit('loaded')")
    monkeypatch.chdir(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "WG_TUN_FD": "0", "LOG_LEVEL": "none"}
    words = [*process.own_command(), "-f", "wgpyt0"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("wgpy: LOG_LEVEL=none")


def test_a_checkout_starts_itself(monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [*process.own_command(), "--version"]
    assert words[:-1] == [sys.executable, "-m", "wgpy"]
    subprocess.run(words, capture_output=True, check=True)
