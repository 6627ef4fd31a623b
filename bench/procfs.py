"""What /proc tells of a running process: memory, processor time, how often it woke."""

import os
import sys
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Return the resident memory in MB (10^6 bytes)."""
    return _number(Path(f"/proc/{pid}/status"), "VmRSS") * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Return the processor time spent so far, user and system, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def waited_seconds(pid: int) -> float:
    """Return how long its first thread was ready and had to wait for a processor."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def wakeups(pid: int) -> int:
    """Return how often its threads have gone to sleep so far, and so how often they woke."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(_number(task / "status", "voluntary_ctxt_switches") for task in tasks)


def machine() -> dict[str, str]:
    """Return on what is measured: processor, cores, kernel, Python."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            model = line.partition(":")[2].strip()
            break
    uname = os.uname()
    return {
        "cpu": model or uname.machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": uname.release,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _number(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise ValueError(f"{path} has no {field}")
