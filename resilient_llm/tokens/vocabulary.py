"""OpenAI's vocabularies, read from this package: exact, offline, built once and only when needed.

A file in `vocabularies/` is zlib of: the number of tokens (4 bytes, big-endian), the length of each token
(one byte each), and the tokens, in the order of their ranks. `tiktoken.get_encoding` is never called: it
downloads, with no time-out.
"""

from __future__ import annotations

import pkgutil
import re
import struct
import warnings
import zlib
from threading import Lock
from typing import TYPE_CHECKING

from .estimating import utf8_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiktoken import Encoding

    from .encodings import EncodingName

# The patterns that split a text before its bytes are merged, as in tiktoken_ext/openai_public.py.
PATTERNS: dict[EncodingName, str] = {
    "cl100k_base": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"
        r"\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k_base": (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
}

# tiktoken raises on a run of a million spaces, and slows down on long runs of one kind of character.
_LONGEST = 250_000
# Between a letter or digit and white space or punctuation (but the apostrophe) both patterns always split, so
# counting on either side of such a place and adding up is exact.
_BOUNDARY = r"[^\W_](?=[\s!-&(-/:-@\[-`{-~\u3001\u3002\uff01\uff0c\uff1f])"
_LAST_BOUNDARY = re.compile(f"(?s:.*){_BOUNDARY}")


def unpack(packed: bytes) -> dict[bytes, int]:
    """A vocabulary's tokens with their ranks.

    Raises:
        zlib.error: The data is damaged.
    """
    data = zlib.decompress(packed)
    first = 4 + int.from_bytes(data[:4], "big")
    codes = [f"{length}s" for length in range(256)]
    # A struct cuts the tokens out in half the time that slicing takes; made here, so that no cache keeps it.
    layout = struct.Struct("".join([codes[length] for length in data[4:first]]))
    return {token: rank for rank, token in enumerate(layout.unpack_from(data, first))}


def read(name: EncodingName) -> bytes:
    """The packed file as it travels in the wheel."""
    return pkgutil.get_data(__name__.rpartition(".")[0], f"vocabularies/{name}.zlib") or b""


def slices(text: str) -> Iterator[str]:
    """A long text in pieces, cut where that does not change the count as far as there is such a place."""
    start = 0
    while len(text) - start > _LONGEST:
        end = start + _LONGEST
        split = _LAST_BOUNDARY.match(text, start + _LONGEST // 2, end)
        end = split.end() if split else end
        yield text[start:end]
        start = end
    yield text[start:]


class Vocabulary:
    """One vocabulary, loaded by the first count. Thread-safe."""

    def __init__(self, name: EncodingName) -> None:
        self.name: EncodingName = name
        self.failed = False
        self._lock = Lock()
        self._encoding: Encoding | None = None

    def count(self, text: str) -> int:
        """The text's tokens. Special tokens in it count as the plain text that they are.

        Exact, but for a run of more than 125,000 characters without white space or punctuation, where it may
        be a few tokens off. Where the vocabulary cannot be loaded: the bytes, which are never too few.
        """
        encoding = self._encoding or self.load()
        if encoding is None:
            return utf8_length(text)
        if len(text) <= _LONGEST:
            return len(encoding.encode(text, disallowed_special=()))
        return sum(len(encoding.encode(piece, disallowed_special=())) for piece in slices(text))

    @property
    def ready(self) -> bool:
        """Is it loaded, or known to be lost?"""
        return self.failed or self._encoding is not None

    def load(self) -> Encoding | None:
        """The encoding, or None if it cannot be loaded; then a `RuntimeWarning` said so, once."""
        if self._encoding is None and not self.failed:
            with self._lock:
                cause = self._try_to_build()
            if cause is not None:
                msg = (
                    f"vocabulary {self.name} cannot be loaded ({cause!r}): tokens are estimated from bytes, "
                    "about four times too many; reinstall resilient-llm and tiktoken"
                )
                warnings.warn(msg, RuntimeWarning, stacklevel=2)
        return self._encoding

    def _try_to_build(self) -> Exception | None:
        if self._encoding is not None or self.failed:  # another thread was faster
            return None
        try:
            self._encoding = self._build()
        except (ImportError, OSError, ValueError, zlib.error) as error:
            self.failed = True
            return error
        return None

    def _build(self) -> Encoding:
        from tiktoken import Encoding, registry  # noqa: PLC0415 - 25 ms, not needed while bytes prove the fit

        if loaded := registry.ENCODINGS.get(self.name):  # by another library
            return loaded

        ranks = unpack(read(self.name))
        return Encoding(self.name, pat_str=PATTERNS[self.name], mergeable_ranks=ranks, special_tokens={})


VOCABULARIES: dict[EncodingName, Vocabulary] = {name: Vocabulary(name) for name in PATTERNS}
"""One of each for the process: they are large (o200k_base about 80 MB) and never change."""
