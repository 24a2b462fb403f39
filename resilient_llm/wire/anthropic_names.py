"""What models of Anthropic accept, told from their names.

The API refuses a request for an option that a model does not know, or knows no more. Its listing tells some of that,
but a call must not wait for a listing.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

NUMBERED: Final = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
NEWEST: Final = (99, 0)
VERSION: Final = "2023-06-01"
"""The version of the API whose options are all here. `2026-10-21` is the next one, and has no sampling any more."""


@lru_cache(maxsize=64)
def version_of(model: str) -> tuple[int, int] | None:
    """The version in a model's name, whoever hosts it; the newest if it has none, None if it is no Claude."""
    name = model.lower()
    if "claude" not in name:
        return None
    found = NUMBERED.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else NEWEST


def honours_prefill(model: str) -> bool:
    """Does it go on with an answer that ends the conversation? Claude did so before 4.6."""
    version = version_of(model)
    return version is not None and version < (4, 6)


def takes_sampling(model: str, api_version: str = VERSION) -> bool:
    """Does it accept `temperature`, `top_p` and `top_k`? Claude does before 4.7, in the first version of the API."""
    version = version_of(model)
    return api_version <= VERSION and (version is None or version < (4, 7))


def takes_both(model: str) -> bool:
    """Does it accept `temperature` and `top_p` in one request? Claude does before 4."""
    version = version_of(model)
    return version is None or version < (4, 0)


def takes_effort(model: str) -> bool:
    """Is it told how hard to think by a word? Claude is from 4.6 on; before, by a number of tokens."""
    version = version_of(model)
    return version is not None and version >= (4, 6)


def thinks(model: str) -> bool:
    """Can it think before it answers? Claude can from 3.7 on."""
    version = version_of(model)
    return version is None or version >= (3, 7)
