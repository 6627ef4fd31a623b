"""The names of the commands, and which one a mistyped word stands for."""

from typing import Final

COMMANDS = (
    *("up", "down", "reload", "show", "genkey", "pubkey", "genpsk", "demo"),
    *("help", "version"),
)
# What others call them.
_OTHER_NAMES: Final = {
    "status": "show",
    "list": "show",
    "start": "up",
    "stop": "down",
    "restart": "reload",
}
_LIKENESS: Final = 0.7


def similar_command(word: str) -> str | None:
    """Return the command that a word may stand for; None for what looks like no command.

    Names of interfaces mostly have a digit, and commands have none.
    """
    if any(letter.isdigit() for letter in word):
        return None
    if word in _OTHER_NAMES:
        return _OTHER_NAMES[word]
    from difflib import get_close_matches

    near = get_close_matches(word, COMMANDS, 1, _LIKENESS)
    return near[0] if near else None
