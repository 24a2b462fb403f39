"""A directory in Hugging Face's layout, run by transformers inside this process."""

from __future__ import annotations

import copy
import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from resilient_llm.errors import ModelContextLengthError, ModelInvalidRequestError
from resilient_llm.events import Finish, Result, TextDelta, UsageEvent
from resilient_llm.models import Embeddings, Usage

from .engine import not_installed, unusable
from .hf_sampling import Choosing
from .hf_text import TextPieces, for_template, plain_prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from resilient_llm.models import Message, Request

    from .engine import Emit, ModelFile

UNSUPPORTED: Final = ("tools", "functions", "response_format", "logprobs")
NUMBERS: Final = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "seed")
WINDOW: Final = 2048
"""The window of a model whose configuration names none."""


class HFEngine:
    """A causal language model with its tokenizer, on the first accelerator or the CPU.

    Args:
        file: What to load.

    Raises:
        ModelNotFoundError: torch or transformers is not installed, or they do not load the directory.
    """

    def __init__(self, file: ModelFile) -> None:
        try:
            self._torch: Any = importlib.import_module("torch")
            self._transformers: Any = importlib.import_module("transformers")
        except ImportError as exc:
            raise not_installed(file.path, exc.name or "transformers", "hf") from exc
        try:
            with _quietly(self._transformers):
                self._tokenizer, self._model = self._load(str(file.path))
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as exc:
            step = "Check that config.json, weights and tokenizer are there, and that transformers knows the model"
            why = f"transformers does not load it: {str(exc).strip().splitlines()[0] if str(exc) else exc!r}"
            raise unusable(file.path, why, step) from exc
        own = getattr(self._model.config, "max_position_embeddings", None) or WINDOW
        self.window = min(file.context_length or own, own)

    def _load(self, path: str) -> tuple[Any, Any]:
        tokenizer = self._transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
        model = self._transformers.AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,  # the other format is pickle, which runs what is written in it
            dtype="auto",
        )
        return tokenizer, model.to("cuda" if self._torch.cuda.is_available() else "cpu").eval()

    def chat(self, request: Request, emit: Emit) -> None:
        """Answer; a token that ends the answer, and what follows a stop text, is not handed over."""
        params = {**request.params, **(request.extensions.get("body") or {})}
        refused = [name for name in UNSUPPORTED if params.get(name)]
        if refused or (params.get("n") or 1) > 1:
            msg = f"{(refused or ['n'])[0]}: transformers in this process answers with one plain text; serve the model"
            raise ModelInvalidRequestError(msg)
        _check_numbers(params)
        prompt = self._prompt(request.messages, None) + request.extensions.get("resume_from", "")
        tokens = self._tokens(prompt)
        room = self._room(len(tokens))
        wanted = params.get("max_tokens") or params.get("max_completion_tokens") or room
        stops = params.get("stop") or []
        pieces = TextPieces(self._decode, [stops] if isinstance(stops, str) else stops)
        answer = _Answer(self._torch, pieces, self._ends(), emit)
        ids = self._torch.tensor([tokens], device=self._model.device)
        self._model.generate(
            ids,
            attention_mask=self._torch.ones_like(ids),
            generation_config=self._settings(min(wanted, room) if wanted > 0 else room),
            logits_processor=[Choosing.of(self._torch, params, self._model.generation_config)],
            stopping_criteria=[answer],
        )
        if not answer.left:
            usage = Usage(len(tokens), answer.count, len(tokens) + answer.count)
            text = pieces.rest()
            emit([*([TextDelta(text)] if text else []), UsageEvent(usage), Finish(answer.reason)])

    def embed(self, texts: Sequence[str], emit: Emit) -> None:
        """The mean of the last layer's states; one text after the other, so that a call can be stopped in between."""
        vectors, count = [], 0
        for text in texts:
            tokens = self._tokenizer(text)["input_ids"] or self._ends()[:1]
            if len(tokens) > self.window:
                raise self._overflow(len(tokens))
            with self._torch.inference_mode():
                ids = self._torch.tensor([tokens], device=self._model.device)
                states = self._model.base_model(input_ids=ids).last_hidden_state[0]
                mean = states.float().mean(dim=0)
                vectors.append((mean / mean.norm().clamp(min=1e-12)).tolist())
            count += len(tokens)
            if emit(()):
                return
        usage = Usage(prompt_tokens=count, total_tokens=count)
        emit([Result(Embeddings(vectors, "", usage)), UsageEvent(usage), Finish("stop")])

    def count(self, prompt: str | Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> int:
        """By the model's own tokenizer and template."""
        return len(self._tokens(prompt if isinstance(prompt, str) else self._prompt(prompt, tools)))

    def _prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> str:
        plain = for_template(messages)
        if not self._tokenizer.chat_template:
            return plain_prompt(plain)
        try:
            told: str = self._tokenizer.apply_chat_template(
                plain, tools=tools, add_generation_prompt=True, tokenize=False
            )
        except Exception as exc:
            msg = f"the model's chat template refuses the conversation: {exc}"
            raise ModelInvalidRequestError(msg) from exc
        return told

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _room(self, tokens: int) -> int:
        if tokens >= self.window:
            raise self._overflow(tokens)
        return self.window - tokens

    def _overflow(self, tokens: int) -> ModelContextLengthError:
        msg = f"the prompt has {tokens} tokens, the window {self.window}"
        return ModelContextLengthError(msg, context_limit=self.window, context_requested=tokens)

    def _ends(self) -> list[int]:
        ends = self._model.generation_config.eos_token_id
        if ends is None:
            ends = self._tokenizer.eos_token_id
        return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)

    def _settings(self, most: int) -> Any:
        """The model's own, but for what is chosen by `Choosing`."""
        ends = self._ends()
        settings = copy.deepcopy(self._model.generation_config)
        settings.update(
            do_sample=False, temperature=None, top_p=None, top_k=None, max_length=None, max_new_tokens=most
        )
        settings.update(eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0)
        return settings


class _Answer:
    """Asked after each token whether to stop; hands over its text.

    Attributes:
        count: The tokens so far.
        left: Nobody wants more.
        reason: Why the answer ends, if it ends now.
    """

    def __init__(self, torch: Any, pieces: TextPieces, ends: list[int], emit: Emit) -> None:
        self.count = 0
        self.left = False
        self.reason = "length"
        self._torch = torch
        self._pieces = pieces
        self._ends = frozenset(ends)
        self._emit = emit

    def __call__(self, ids: Any, *_: object, **__: object) -> Any:
        token = int(ids[0, -1])
        self.count += 1
        if token in self._ends:
            self.reason = "stop"
        else:
            text = self._pieces.feed(token)
            self.left = self._emit([TextDelta(text)] if text else ())
            if self._pieces.stopped:
                self.reason = "stop"
        over = self.left or self.reason == "stop"
        return self._torch.full((ids.shape[0],), over, dtype=self._torch.bool, device=ids.device)


def _check_numbers(params: Mapping[str, Any]) -> None:
    for name in NUMBERS:
        value = params.get(name)
        whole = name not in {"temperature", "top_p"}
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int if whole else int | float)
        ):
            msg = f"{name} must be {'a whole number' if whole else 'a number'}, not {value!r}"
            raise ModelInvalidRequestError(msg)


@contextmanager
def _quietly(transformers: Any) -> Iterator[None]:
    """No progress bars on the terminal while it loads."""
    logging = transformers.utils.logging
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
