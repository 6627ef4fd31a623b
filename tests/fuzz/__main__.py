"""`python -m tests.fuzz TARGET [--seconds N]`: fuzz one target with Atheris (extra `fuzz`).

Begins with the committed corpus and keeps what it learns in a directory of its own under the
system's temporary files. An input that breaks the invariant is written there and named; put it
into `corpus/TARGET/` together with the fix. `--list` names the targets.
"""

import argparse
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MAX_SIZE = 4096


def main(arguments: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["wgpy", "noise"]):
        from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--max-size", type=int, default=MAX_SIZE)
    asked = parser.parse_args(arguments)
    learnt = Path(tempfile.gettempdir()) / "wgpy-fuzz" / asked.target
    learnt.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={asked.seconds}",
            f"-max_len={asked.max_size}",
            f"-artifact_prefix={learnt.parent}/{asked.target}-",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-print_final_stats=1",
            str(learnt),
            str(CORPUS / asked.target),
        ],
        TARGETS[asked.target],
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
