"""`python -m tests.check [--fast] [--long]`: format, lint, types, contracts, tests.

--fast leaves out what needs root, another implementation of WireGuard or more than a second a
test; --long adds what waits for more than a minute. Other arguments go to pytest.
"""

import subprocess
import sys

FAST = "not (slow or root or interop or long)"
USUAL = "not long"


def commands(arguments: list[str]) -> list[list[str]]:
    fast, long = "--fast" in arguments, "--long" in arguments
    rest = [argument for argument in arguments if argument not in ("--fast", "--long")]
    python = [sys.executable, "-m"]
    pytest = [*python, "pytest", "-q", *rest]
    return [
        [*python, "ruff", "format", "--check", "--quiet", "."],
        [*python, "ruff", "check", "--quiet", "."],
        [*python, "mypy", "--no-error-summary"],
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        [*pytest, "-m", FAST] if fast else pytest if long else [*pytest, "-m", USUAL],
    ]


def main() -> int:
    for command in commands(sys.argv[1:]):
        print("+", " ".join(command[1:]), flush=True)
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            print(f"failed: {' '.join(command[1:])}", flush=True)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
