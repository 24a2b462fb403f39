"""Model names as people write them, brought to the form that the tables of this package use."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_MAKERS = frozenset({"openai", "anthropic", "azure", "azure_ai", "openrouter", "github"})


def bare_name(model: str) -> str:
    """The model's own name: without a maker's prefix, `ft:`, a fine-tune's suffix, a tag or a date after `@`.

    `openai/gpt-4o`, `ft:gpt-4o:acme::id` and `GPT-4o` give `gpt-4o`. A prefix that is no known maker's stays:
    what `someone/gpt-4o-distilled` holds, its name does not tell.
    """
    prefix, _, name = model.strip().lower().rpartition("/")
    if not _MAKERS.issuperset(filter(None, prefix.split("/"))):
        return f"{prefix}/{name}"
    name = name.removeprefix("ft:").partition(":")[0].partition("@")[0]
    return name.replace(".", "-") if name.startswith("claude") else name


def look_up(model: str, table: Mapping[str, T]) -> T | None:
    """What a table says of a model. A name stands for its dated and suffixed forms too, the longest wins."""
    name = bare_name(model)
    while name and name not in table:
        name = name.rpartition("-")[0]
    return table.get(name)
