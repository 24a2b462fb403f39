"""Which model is used when none is named."""

from __future__ import annotations

import pytest

from resilient_llm.models import ModelInfo
from resilient_llm.transports.selection import Selection, choose_model

COLD = ModelInfo("cold", loaded=False, kind="chat")
WARM = ModelInfo("warm", loaded=True, kind="chat")
VECTORS = ModelInfo("vectors", loaded=True, kind="embedding")
PLAIN = ModelInfo("plain")


@pytest.mark.parametrize(
    ("models", "kind", "chosen"),
    [
        ([], "chat", None),
        ([COLD, WARM], "chat", WARM),
        ([VECTORS, COLD], "chat", COLD),
        ([VECTORS], "chat", None),
        ([COLD, VECTORS], "embedding", VECTORS),
        ([PLAIN], "chat", PLAIN),
        ([PLAIN], "embedding", None),
    ],
)
def test_a_loaded_model_of_the_kind_is_preferred(models, kind, chosen):
    """Loaded before not loaded, in the backend's order, and never one of another kind."""
    assert choose_model(models, kind) is chosen


@pytest.mark.parametrize(
    ("windows", "tokens", "chosen"),
    [
        ((64, 4096), 0, 0),
        ((64, 4096), 64, 0),
        ((64, 4096), 65, 1),
        ((64, 128, 99), 500, 1),
        ((64, None), 500, 1),
    ],
)
def test_a_window_that_holds_the_prompt_is_preferred(windows, tokens, chosen):
    """The first that does, else the largest; an unknown window may do."""
    models = [
        ModelInfo(str(number), loaded=True, context_length=window) for number, window in enumerate(windows)
    ]
    assert choose_model(models, tokens=tokens) is models[chosen]


async def test_a_stand_in_is_warned_of_again_after_a_choice(caplog):
    """Once while there is nothing to choose from; a choice between ends that."""
    selection = Selection("b", "any")
    offers = [[], [], [PLAIN], []]

    async def listing():
        return offers.pop(0)

    chosen = []
    for _ in range(4):
        chosen.append(await selection.model("chat", listing))
        selection.forget()
    assert chosen == ["any", "any", "plain", "any"]
    assert len(caplog.messages) == 2
