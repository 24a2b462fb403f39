"""Which model is used when none is named."""

from __future__ import annotations

import pytest

from resilient_llm.models import ModelInfo
from resilient_llm.transports.selection import choose_model

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
