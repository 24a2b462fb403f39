"""Checks of options, with messages that name the option, the value and what would be accepted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import attrs


def called(option: str) -> dict[str, str]:
    """Metadata of an attribute that clients know by another name."""
    return {"option": option}


def _name(attribute: attrs.Attribute[Any]) -> str:
    option = attribute.metadata.get("option")
    return f"{option} ({attribute.name} of its stage)" if option else attribute.name


def _number(attribute: attrs.Attribute[Any], value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{_name(attribute)} must be a number, not {value!r}"
        raise TypeError(msg)
    if not math.isfinite(value):
        msg = f"{_name(attribute)} must be finite, not {value!r}"
        raise ValueError(msg)
    return value


def positive(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A finite number above 0."""
    if _number(attribute, value) <= 0:
        msg = f"{_name(attribute)} must be above 0, not {value!r}"
        raise ValueError(msg)


def non_negative(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A finite number of 0 or more."""
    if _number(attribute, value) < 0:
        msg = f"{attribute.name} must be 0 or more, not {value!r}"
        raise ValueError(msg)


def optional_positive(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """None, or a finite number above 0."""
    if value is not None:
        positive(instance, attribute, value)


def optional_non_negative(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """None, or a finite number of 0 or more."""
    if value is not None:
        non_negative(instance, attribute, value)


def optional_ratio(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """None, or a number above 0 and at most 1."""
    if value is not None:
        ratio(instance, attribute, value)


def count(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A whole number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        msg = f"{attribute.name} must be a whole number, not {value!r}"
        raise TypeError(msg)
    if value < 0:
        msg = f"{attribute.name} must be 0 or more, not {value!r}"
        raise ValueError(msg)


def ratio(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A number above 0 and at most 1."""
    if not 0 < _number(attribute, value) <= 1:
        msg = f"{attribute.name} must be above 0 and at most 1, not {value!r}"
        raise ValueError(msg)


def optional_callable(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """None, or something to call."""
    if value is not None and not callable(value):
        msg = f"{attribute.name} must be a function or None, not {value!r}"
        raise TypeError(msg)
