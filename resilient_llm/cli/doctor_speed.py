"""What was measured on the way, and what of it is slow."""

from __future__ import annotations

from typing import Final

import attrs

from .doctor_finding import Finding

SLOW_CONNECT: Final = 0.5
SLOW_LISTING: Final = 2.0
SLOW_FIRST_TOKEN: Final = 5.0
SLOW_TOKENS: Final = 5.0


@attrs.define
class Speed:
    """Seconds, and tokens a second; None where nothing was measured."""

    connect: float | None = None
    listing: float | None = None
    first_token: float | None = None
    tokens: float | None = None

    def measure(self, tokens: int, seconds: float) -> None:
        """Note the tokens of an answer that came within so many seconds after its first one."""
        if tokens > 1 and seconds > 0.001:
            self.tokens = (tokens - 1) / seconds

    def told(self) -> str:
        """The answer's speed."""
        rate = f", then {self.tokens:.3g} tokens/s" if self.tokens is not None else ""
        return f"first token after {self.first_token or 0:.2f} s{rate}"

    def judge(self) -> Finding:
        """What is slow, and what helps."""
        slow: list[tuple[str, str]] = []
        if (self.connect or 0) > SLOW_CONNECT:
            slow.append(
                (f"connecting takes {self.connect:.1f} s", "look at the name server, proxy and distance")
            )
        if (self.listing or 0) > SLOW_LISTING:
            slow.append(
                (f"listing models takes {self.listing:.1f} s", "the server may be busy with other calls")
            )
        if (self.first_token or 0) > SLOW_FIRST_TOKEN:
            step = "run doctor again: if it is fast then, the model was being loaded; else look at the GPU"
            slow.append((f"the first token takes {self.first_token:.1f} s", step))
        if self.tokens is not None and self.tokens < SLOW_TOKENS:
            step = "a smaller model or quantization, or more layers on the GPU"
            slow.append((f"{self.tokens:.1f} tokens/s", step))
        if not slow:
            return Finding("speed", "ok", "nothing is slow")
        return Finding(
            "speed", "warning", "; ".join(what for what, _ in slow), "; ".join(do for _, do in slow)
        )
