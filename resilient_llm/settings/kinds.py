"""The kinds of values that settings take: what is accepted, and how it is read from text."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

import attrs

from resilient_llm.policy.scrub import scrub
from resilient_llm.presets import AUTO, BACKENDS
from resilient_llm.transports.address import parse_address

from .errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

PROVIDERS: Final = (AUTO, *sorted(BACKENDS.keys() - {AUTO}))
YES: Final = frozenset({"true", "yes", "on", "1"})
NO: Final = frozenset({"false", "no", "off", "0"})


@attrs.frozen
class Kind:
    """A kind of value.

    Args:
        accepted: What to write, for messages and the docs; completes "must be ...".
        check: Gives the value, or raises TypeError or ValueError.
        parse: From a variable's text to what `check` takes; raises ValueError.
    """

    accepted: str
    check: Callable[[object], object]
    parse: Callable[[str], object] = str.strip

    def read(self, value: object, origin: str, *, text: bool = False) -> object:
        """The value, checked.

        Args:
            value: What was set.
            origin: Who set it, for the message.
            text: May it be a text that stands for something else, as in a variable?

        Raises:
            SettingsError: It is not what is accepted.
        """
        try:
            return self.check(self.parse(value) if text and isinstance(value, str) else value)
        except (TypeError, ValueError):
            shown = "what was given" if "@" in str(value) else harmless(value)
            msg = f"{origin} must be {self.accepted}, not {shown}"
            raise SettingsError(msg) from None


def harmless(value: object) -> str:
    """A value's repr, without the user, the password and the key that an address may hold."""
    return "'...'" if "@" in str(value) else scrub(repr(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _provider(value: object) -> str:
    name = _text(value).strip().lower()
    if name not in PROVIDERS:
        raise ValueError
    return name


def _address(value: object) -> str:
    url = _text(value).strip()
    if url:
        parse_address(url)
    return url


def _redis(value: object) -> str:
    url = _text(value).strip()
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError
    return url


def _namespace(value: object) -> str:
    name = _text(value).strip()
    if not name or {"{", "}"} & {*name}:
        raise ValueError
    return name


def _path(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else _text(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _word(text: str) -> object:
    word = text.strip().lower()
    return True if word in YES else False if word in NO else text


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value < 1:
        raise ValueError
    return value


def _number(value: object, highest: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not 0 <= value <= highest or math.isinf(value):
        raise ValueError
    return float(value)


def _seconds(value: object) -> float:
    seconds = _number(value)
    if not seconds:
        raise ValueError
    return seconds


PROVIDER: Final = Kind(f"one of {', '.join(PROVIDERS)}", _provider)
ADDRESS: Final = Kind("an absolute URL such as http://localhost:1234/v1, or empty", _address)
REDIS: Final = Kind("a URL such as redis://localhost:6379/0, or empty", _redis)
NAMESPACE: Final = Kind("a text without braces, not empty", _namespace)
TEXT: Final = Kind("a text", _text)
PATH: Final = Kind("a path", _path)
BOOLEAN: Final = Kind("true or false", _boolean, _word)
COUNT: Final = Kind("a whole number above 0", _count, int)
TEMPERATURE: Final = Kind("a number from 0 to 2", lambda value: _number(value, 2.0), float)
SECONDS: Final = Kind("a number of seconds above 0", _seconds, float)
MILLISECONDS: Final = Kind("a number of milliseconds above 0", lambda value: _seconds(value) / 1000, float)
