"""What an image costs, by the rules that its model's maker publishes.

OpenAI: the guide "Images and vision"; older models count tiles of 512 px, newer ones patches of 32 px. Anthropic:
the page "Vision"; patches of 28 px, before that one token for 750 px. Where a page leaves something open, or where
people measured more, the larger figure is taken. Models that are not listed cost a constant.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from resilient_llm.validators import count as whole_number

from .names import look_up

if TYPE_CHECKING:
    from .image_size import Size

UNKNOWN_IMAGE: Final = 1_600
"""Tokens of an image for a model whose rule is not known: as much as most take for a large one."""


class ImageRule(Protocol):
    """What one model takes for an image."""

    def __call__(self, size: Size | None, detail: str = "auto") -> int:
        """The tokens; for an image of unknown size the most that any image of that detail takes."""
        ...


@attrs.frozen
class Constant:
    """So many tokens for each image, whatever its size."""

    image_tokens: int = attrs.field(default=UNKNOWN_IMAGE, validator=whole_number)

    def __call__(self, size: Size | None, detail: str = "auto") -> int:  # noqa: ARG002 - the same for all
        """The constant."""
        return self.image_tokens


@attrs.frozen
class Tiles:
    """A base and so much for each tile of 512 px, the image scaled down to 2048 px and its short side to 768.

    It is scaled down only: a small image takes one tile, as the service's own counts show.
    """

    base: int
    tile: int

    def __call__(self, size: Size | None, detail: str = "auto") -> int:
        """With `low` detail the base alone."""
        if detail == "low":
            return self.base
        size = fitted(size or (2048, 2048 * 3 // 8), 2048)  # no shape takes more than two rows of four tiles
        width, height = scaled(size, 768 / min(size))
        return self.base + self.tile * patches((width, height), 512)


@attrs.frozen
class Patches:
    """So much for each patch of 32 px; an image with too many, or too long, is scaled down first.

    Args:
        multiplier: Tokens for each patch.
        high: Most patches and longest side in pixels for `high` detail.
        original: The same for `original` detail, where the model offers it.
        auto_is_original: Is that what `auto`, or no word about detail, means?
    """

    multiplier: float
    high: tuple[int, int] = (1_536, 2_048)
    original: tuple[int, int] | None = None
    auto_is_original: bool = False

    def __call__(self, size: Size | None, detail: str = "auto") -> int:
        """With `low` detail those of an image of 512 px."""
        budget, longest = self._limits(detail)
        number = budget if size is None else min(budget, patches(_within(size, budget, longest), 32))
        return math.ceil(number * self.multiplier)

    def _limits(self, detail: str) -> tuple[int, int]:
        if detail == "low":
            return 256, 512
        if self.original and (detail == "original" or (detail != "high" and self.auto_is_original)):
            return self.original
        return self.high


@attrs.frozen
class ClaudePatches:
    """One token for each patch of 28 px; a larger image is scaled down until it keeps both limits.

    Args:
        longest: The longest side, in pixels.
        budget: The most tokens.
        pixels: The older rule: one token for so many pixels. The larger of both counts; 0: only the newer.
    """

    longest: int
    budget: int
    pixels: int = 0

    def __call__(self, size: Size | None, detail: str = "auto") -> int:  # noqa: ARG002 - it has no say
        """The same whatever the detail asked for."""
        if size is None:
            return max(self.budget, self._older(self.budget * 28 * 28))
        size = self._largest(size)
        return max(patches(size, 28), self._older(size[0] * size[1]))

    def _older(self, pixels: int) -> int:
        return math.ceil(pixels / self.pixels) if self.pixels else 0

    def _largest(self, size: Size) -> Size:
        """The largest size of this shape within the limits, to the pixel."""
        if self._fits(size):
            return size
        low, high = 0, max(size)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(scaled(size, middle / max(size))) else (low, middle)
        return scaled(size, low / max(size))

    def _fits(self, size: Size) -> bool:
        padded = math.ceil(max(size) / 28) * 28
        return padded <= self.longest and patches(size, 28) <= self.budget


def patches(size: Size, side: int) -> int:
    """How many squares of so many pixels cover an image."""
    return -(-size[0] // side) * -(-size[1] // side)


def fitted(size: Size, longest: int) -> Size:
    """Scaled down until no side is longer."""
    return scaled(size, longest / max(size))


def scaled(size: Size, factor: float) -> Size:
    """Scaled down, never up."""
    if factor >= 1:
        return size
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _within(size: Size, budget: int, longest: int) -> Size:
    """OpenAI's way: to the longest side, then by area, then so that whole patches make up one side."""
    width, height = fitted(size, longest)
    if patches((width, height), 32) <= budget:
        return width, height
    shrink = math.sqrt(32 * 32 * budget / (width * height))
    across, down = (
        width * shrink / 32,
        height * shrink / 32,
    )  # many, or the image would not have been too large
    shrink *= min(math.floor(across) / across, math.floor(down) / down)
    return int(width * shrink), int(height * shrink)


_GPT_4O: Final = Tiles(85, 170)
_GPT_5: Final = Tiles(70, 140)
_O_SERIES: Final = Tiles(75, 150)
_MINI: Final = Patches(1.62)
_NANO: Final = Patches(2.46)
# No multiplier is published for these; 1.2 has been measured for gpt-5.2.
_GPT_5_2: Final = Patches(1.2)
_GPT_5_4: Final = Patches(1.2, (2_500, 2_048), (10_000, 6_000))
_GPT_5_5: Final = Patches(1.2, (2_500, 2_048), (10_000, 6_000), auto_is_original=True)
_CLAUDE: Final = ClaudePatches(1_568, 1_568, 750)
_CLAUDE_SHARP: Final = ClaudePatches(2_576, 4_784)

_RULES: Final[dict[str, ImageRule]] = {
    "gpt-4o": _GPT_4O,
    "gpt-4o-mini": Tiles(2_833, 5_667),
    "chatgpt-4o": _GPT_4O,
    "gpt-4": _GPT_4O,
    "gpt-4.1": _GPT_4O,
    "gpt-4.1-mini": _MINI,
    "gpt-4.1-nano": _NANO,
    "gpt-4.5": _GPT_4O,
    "gpt-5": _GPT_5,
    "gpt-5-mini": _MINI,
    "gpt-5-nano": _NANO,
    "gpt-5-codex-mini": _MINI,
    "gpt-5.1": _GPT_5_2,
    "gpt-5.1-codex-mini": _MINI,
    "gpt-5.2": _GPT_5_2,
    "gpt-5.3": _GPT_5_2,
    "gpt-5.4": _GPT_5_4,
    "gpt-5.4-mini": _MINI,
    "gpt-5.4-nano": _NANO,
    "gpt-5.5": _GPT_5_5,
    "gpt-5.6": _GPT_5_5,
    "o1": _O_SERIES,
    "o3": _O_SERIES,
    "o4-mini": Patches(1.72),
    "computer-use-preview": Tiles(65, 129),
    "claude": _CLAUDE_SHARP,  # whatever comes next
    "claude-3": _CLAUDE,
    "claude-haiku-4": _CLAUDE,
    "claude-opus-4": _CLAUDE,
    "claude-opus-4-7": _CLAUDE_SHARP,
    "claude-opus-4-8": _CLAUDE_SHARP,
    "claude-sonnet-4": _CLAUDE,
    "claude-sonnet-4-7": _CLAUDE_SHARP,
    "claude-sonnet-4-8": _CLAUDE_SHARP,
}


@lru_cache(1024)
def image_rule(model: str) -> ImageRule:
    """The model's rule by its name, or a constant of 1,600 tokens where none is published."""
    return look_up(model, _RULES) or Constant()
