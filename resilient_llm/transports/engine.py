"""What runs a model inside this process: two kinds, chosen by what is at the path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs

from resilient_llm.errors import ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from resilient_llm.events import Event
    from resilient_llm.models import Message, Request

Emit: TypeAlias = "Callable[[Sequence[Event]], bool]"
"""Takes the next events, possibly none; True: nobody wants more, so stop."""

GGUF_MAGIC: Final = b"GGUF"


class Engine(Protocol):
    """A model in memory. It is used by one thread at a time, but for `count`, which may be called by any meanwhile.

    What it holds is let go of with the last reference to it.

    Attributes:
        window: How many tokens prompt and answer may have together.
    """

    window: int

    def chat(self, request: Request, emit: Emit) -> None:
        """Answer, piece by piece, `Finish` last; return early when `emit` says so."""
        ...

    def embed(self, texts: Sequence[str], emit: Emit) -> None:
        """Vectors of unit length: a `Result`, usage, `Finish`; return early when `emit` says so."""
        ...

    def count(self, prompt: str | Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> int:
        """The tokens of a bare text, or of a conversation as the model's own chat template writes it."""
        ...


@attrs.frozen
class ModelFile:
    """What is to be loaded, and how; equal ones are loaded once.

    Args:
        path: A GGUF file, or a directory in Hugging Face's layout.
        context_length: The window in tokens; None leaves it to the engine.
        threads: How many threads compute; None leaves it to the engine.
    """

    path: Path
    context_length: int | None = None
    threads: int | None = None

    def check(self) -> None:
        """Is there something that looks like a model? Reads four bytes at most.

        Raises:
            ModelNotFoundError: There is not; the message says what is.
        """
        path = self.path
        if not path.exists():
            raise unusable(path, "it does not exist", "Put the model there, or correct model_path")
        if path.is_dir():
            if not (path / "config.json").is_file():
                step = "Give the directory that holds config.json, the weights and the tokenizer, or a .gguf file"
                raise unusable(path, "the directory holds no config.json", step)
            return
        try:
            with path.open("rb") as file:
                magic = file.read(len(GGUF_MAGIC))
        except OSError as exc:
            why = exc.strerror or type(exc).__name__
            raise unusable(
                path, f"it cannot be read: {why}", "Correct its permissions, or model_path"
            ) from exc
        if magic != GGUF_MAGIC:
            step = "Give a .gguf file, or a directory in Hugging Face's layout"
            raise unusable(path, "it is no GGUF file", step)

    def load(self) -> Engine:
        """Load it; takes its time.

        Raises:
            ModelNotFoundError: There is no model that could be loaded, or the extra for its kind is not installed.
        """
        self.check()
        if self.path.is_dir():
            from .hf_engine import HFEngine  # noqa: PLC0415 - torch is large

            return HFEngine(self)
        from .gguf_engine import GGUFEngine  # noqa: PLC0415 - an extra

        return GGUFEngine(self)


def unusable(path: Path, why: str, step: str) -> ModelNotFoundError:
    """The error for a model that cannot be loaded: what is wrong, and what to do next."""
    error = ModelNotFoundError(f"no model can be loaded from {str(path)!r}: {why}")
    error.hint = step  # type: ignore[misc] # this one's way out is not the class's
    return error


def not_installed(path: Path, package: str, extra: str) -> ModelNotFoundError:
    """The error for a model whose engine is not installed."""
    step = f'Install it: pip install "resilient-llm[{extra}]"'
    return unusable(path, f"{package} is not installed", step)
