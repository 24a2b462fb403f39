"""How the next token is chosen: with a generator of its own, so that a seed does not touch the global one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class Choosing:
    """A logits processor that leaves one token possible.

    Args:
        torch: The module.
        temperature: 0: the likeliest.
        top_p: Only the likeliest tokens that have this probability together (Holtzman et al., 2020).
        top_k: Only so many of the likeliest; 0: all.
        seed: Of the draws; None: another one each time.
    """

    def __init__(self, torch: Any, *, temperature: float, top_p: float, top_k: int, seed: int | None) -> None:
        self._torch = torch
        self._temperature, self._top_p, self._top_k = temperature, top_p, top_k
        self._draws = torch.Generator()
        if seed is None:
            self._draws.seed()
        else:
            self._draws.manual_seed(seed)

    @classmethod
    def of(cls, torch: Any, params: Mapping[str, Any], usual: Any) -> Self:
        """As the request says, else as the model's own settings do."""
        samples = bool(usual.do_sample)
        asked: dict[str, Any] = {
            "temperature": (usual.temperature or 1.0) if samples else 0.0,
            "top_p": (usual.top_p if samples else None) or 1.0,
            "top_k": (usual.top_k if samples else None) or 0,
            "seed": None,
        }
        asked |= {name: params[name] for name in asked if params.get(name) is not None}
        return cls(torch, **asked)

    def __call__(self, _: object, scores: Any) -> Any:
        """The scores with all tokens but one at minus infinity."""
        token = scores.argmax(dim=-1, keepdim=True) if self._temperature <= 0 else self._drawn(scores)
        return self._torch.full_like(scores, -float("inf")).scatter(-1, token, 0.0)

    def _drawn(self, scores: Any) -> Any:
        ranked, order = (scores.float() / self._temperature).sort(dim=-1, descending=True)
        if self._top_k:
            ranked[..., self._top_k :] = -float("inf")
        chances = ranked.softmax(dim=-1)
        before = chances.cumsum(dim=-1) - chances
        dropped = before >= self._top_p
        dropped[..., 0] = False
        chances[dropped] = 0.0
        place = self._torch.multinomial(chances.cpu(), 1, generator=self._draws)
        return order.gather(-1, place.to(order.device))
