"""Secrets out of texts that are shown, logged or attached to errors."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

HIDDEN: Final = "***"

_SECRETS: Final = (
    # key=value and "key": "value", in URLs, headers and quoted JSON
    (
        r"(?P<name>\b(?:x-)?(?:api|access|secret|subscription)[-_]?(?:key|token)(?:[-_]id)?"
        r"|\b(?:key|token|sig|password|passwd|secret))"
        r"(?P<sign>[\"']?\s{0,3}[=:]\s{0,3}[\"']?)(?P<value>[^\s\"'&,;<>{}()\[\]]{6,512})"
    ),
    # Authorization: Bearer …, Basic …
    r"\b(?P<scheme>[Bb]earer|[Bb]asic)\s{1,3}(?P<credential>[A-Za-z0-9._~+/=*-]{6,4096})",
    # user:password@ in a URL
    r"(?P<url>://)[^\s/:@]{0,256}:[^\s/@]{1,256}@",
    # the prefixes that vendors give their keys: OpenAI and most, Groq, Hugging Face, xAI, NVIDIA, Perplexity,
    # Replicate, Google, AWS, Fireworks, Cerebras, GitHub, JSON web tokens
    r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi|pplx|r8|fw|csk|gh[opsu]|github_pat|tvly|sess)[-_][A-Za-z0-9_*.-]{8,512}",
    r"\bAIza[A-Za-z0-9_*-]{10,128}",
    r"\b(?:AKIA|ASIA)[A-Z0-9*]{8,64}",
    r"\beyJ[A-Za-z0-9_-]{6,4096}(?:\.[A-Za-z0-9_-]{1,4096}){1,2}",
)


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{secret})" for secret in _SECRETS))


def _hide(match: re.Match[str]) -> str:
    found = match.groupdict()
    if found["name"]:
        return f"{found['name']}{found['sign']}{HIDDEN}"
    if found["scheme"]:
        return f"{found['scheme']} {HIDDEN}"
    return f"://{HIDDEN}@" if found["url"] else HIDDEN


def scrub(text: str) -> str:
    """Replace keys, tokens and passwords by `***`, as far as their form gives them away.

    Knows the key prefixes of the vendors, `Bearer …`, `key=…` and `"api_key": "…"`, passwords in URLs, and JSON
    web tokens. Linear in the text's length. A secret without any of these marks is not recognised.
    """
    return _pattern().sub(_hide, text)
