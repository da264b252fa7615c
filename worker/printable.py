"""Strangers' text on an operator's terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text on one line and without control characters: names and addresses may hold a terminal's commands."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
