import io
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from wgpy.io import report, syslog
from wgpy.io.syslog import SyslogHandler


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("of-a-test")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in logger.handlers[:]:
        handler.close()
        logger.removeHandler(handler)


def daemon(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.settimeout(5)
    return listening


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 31), (logging.INFO, 30), (logging.WARNING, 28), (logging.ERROR, 27)],
)
def test_a_line_has_its_priority_and_the_programs_tag(tmp_path, logger, level, priority):
    with closing(daemon(tmp_path / "log")) as listening:
        logger.addHandler(SyslogHandler(str(tmp_path / "log")))
        logger.log(level, "wg0: it works")
        assert listening.recv(100).decode() == f"<{priority}>wgpy[{os.getpid()}]: wg0: it works"


def test_nobody_listening_is_nobodys_trouble_and_a_new_daemon_is_found(tmp_path, logger, capfd):
    path = tmp_path / "log"
    logger.addHandler(SyslogHandler(str(path)))
    logger.warning("lost")
    with closing(daemon(path)) as listening:
        logger.warning("first")
        assert listening.recv(100).endswith(b": first")
    logger.warning("lost")
    path.unlink()
    with closing(daemon(path)) as listening:
        logger.warning("second")
        assert listening.recv(100).endswith(b": second")
        logger.warning("x" * 10000)
        assert len(listening.recv(20000)) == syslog.MAX_LINE
    assert capfd.readouterr().err == ""


def test_a_daemon_that_hangs_holds_up_nothing(tmp_path, logger):
    with closing(daemon(tmp_path / "log")) as listening:
        logger.addHandler(SyslogHandler(str(tmp_path / "log")))
        for number in range(2000):
            logger.info("%d", number)
        assert listening.recv(100).endswith(b": 0")


@pytest.mark.parametrize("form", report.FORMATS)
def test_the_lines_of_wgpy_go_there_without_time_and_level(tmp_path, monkeypatch, form):
    logger = logging.getLogger("wgpy")
    old = logger.handlers[:], logger.propagate, logger.level
    monkeypatch.setattr(SyslogHandler.__init__, "__defaults__", (str(tmp_path / "log"),))
    stream = io.StringIO()
    try:
        with closing(daemon(tmp_path / "log")) as listening:
            report.configure("info", form, stream)
            report.to_syslog()
            report.Reporter("wg0").debug("not asked for")
            report.Reporter("wg0").info("it works")
            text = listening.recv(1000).decode().partition("]: ")[2]
            if form == "json":
                line = json.loads(text)
                text = f"{line['interface']}: {line['message']}"
            assert text == "wg0: it works"
            assert stream.getvalue() == ""
            logger.handlers[0].close()
    finally:
        logger.handlers[:], logger.propagate = old[:2]
        logger.setLevel(old[2])
