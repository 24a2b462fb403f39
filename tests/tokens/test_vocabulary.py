"""The vocabularies in the wheel: the published ones, and counted with as published."""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import re
import subprocess
import sys
import time
import warnings
import zlib
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import tiktoken_ext.openai_public as published
from hypothesis import given, settings
from hypothesis import strategies as st

import resilient_llm
from resilient_llm.tokens import ChatCounter, preload, vocabulary
from resilient_llm.tokens.vocabulary import PATTERNS, VOCABULARIES, Vocabulary, read, slices, unpack

NAMES = sorted(PATTERNS)

TEXTS = st.text(st.sampled_from("aZéß漢字かп1²½ \n\t.,;:!?'_-/。、\uff0c\u2019\u0301\u00a0😀"), max_size=60)


def as_published(ranks: dict[bytes, int]) -> bytes:
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())


def pack(ranks: dict[bytes, int]) -> bytes:
    tokens = sorted(ranks, key=ranks.__getitem__)
    return zlib.compress(len(tokens).to_bytes(4, "big") + bytes(map(len, tokens)) + b"".join(tokens), 9)


@pytest.fixture
def definition(monkeypatch, request):
    """What tiktoken itself says of an encoding, with the vocabulary's checksum instead of a download."""
    monkeypatch.setattr(published, "load_tiktoken_bpe", lambda _url, expected_hash: {b"hash": expected_hash})
    return published.ENCODING_CONSTRUCTORS[request.param]()


@pytest.mark.parametrize(("name", "definition"), [(name, name) for name in NAMES], indirect=["definition"])
def test_the_packed_file_rebuilds_the_published_one(name, definition):
    """The rebuilt file has the sha256 that tiktoken's own source demands of a download."""
    rebuilt = as_published(unpack(read(name)))
    assert hashlib.sha256(rebuilt).hexdigest() == definition["mergeable_ranks"][b"hash"]


@pytest.mark.parametrize(("name", "definition"), [(name, name) for name in NAMES], indirect=["definition"])
def test_the_splitting_patterns_are_tiktokens(name, definition):
    """The pattern is the one that the installed tiktoken uses."""
    assert PATTERNS[name] == definition["pat_str"]


@pytest.mark.parametrize("name", NAMES)
def test_a_packed_vocabulary_can_be_packed_again(name):
    """The format holds nothing but lengths and tokens: packing what was unpacked gives the same data."""
    packed = read(name)
    assert zlib.decompress(pack(unpack(packed))) == zlib.decompress(packed)


def test_the_licence_of_the_vocabularies_travels_with_them():
    """OpenAI's MIT notice lies beside the vocabularies."""
    notice = Path(resilient_llm.__file__).parent / "tokens" / "vocabularies" / "LICENSE-tiktoken"
    assert "Copyright (c) 2022 OpenAI, Shantanu Jain" in notice.read_text()


@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        ("cl100k_base", "antidisestablishmentarianism", [519, 85342, 34500, 479, 8997, 2191]),
        ("o200k_base", "antidisestablishmentarianism", [493, 129901, 376, 160388, 21203, 2367]),
        ("cl100k_base", "2 + 2 = 4", [17, 489, 220, 17, 284, 220, 19]),
        ("cl100k_base", "お誕生日おめでとう", [33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699]),
    ],
)
def test_ids_are_the_published_ones(name, text, ids):
    """The cookbook's examples give the cookbook's ids."""
    encoding = VOCABULARIES[name].load()
    assert encoding is not None
    assert encoding.encode(text) == ids
    assert VOCABULARIES[name].count(text) == len(ids)


PROGRAM = """
import os, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
before = dict(os.environ)
from resilient_llm.tokens import TokenTracker

tracker = TokenTracker("gpt-4o")
assert tracker.prune_conversation([{"role": "user", "content": "hello"}], 100)
tracker.ensure_token_limit("hello", 100)
assert "tiktoken" not in sys.modules, "tiktoken was loaded though bytes prove the fit"
print(tracker.count_tokens("hello world"), TokenTracker("some-local-model").count_tokens("hello world"))
assert dict(os.environ) == before
"""


def test_the_first_count_needs_no_network_and_no_cache(tmp_path):
    """In a fresh process with sockets blocked and an empty cache counting works and writes nothing."""
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, "TIKTOKEN_CACHE_DIR": str(tmp_path), "DATA_GYM_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.stdout.split() == ["2", "2"], shown.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_in_a_text_are_plain_text(name):
    """A user who types a control token neither raises nor gets it for one token."""
    assert VOCABULARIES[name].count("<|endoftext|>") > 1


@pytest.mark.parametrize("name", NAMES)
def test_lone_surrogates_are_counted(name):
    """Half a surrogate pair, as JSON can carry one, counts as the replacement character that it becomes."""
    assert VOCABULARIES[name].count("a\ud83d b") == VOCABULARIES[name].count("a\ufffd b")


@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_001,
        "a" * 1_000_000,
        "\t" * 300_000 + "x",
        "漢字仮名交文" * 10_000,
        "😀" * 50_000,
        "👩‍👩‍👧" * 10_000,
        base64.b64encode(Random(1).randbytes(100_000)).decode(),
        "".join(Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=100_000)),
        "7" * 100_000,
        "é̂" * 30_000,
    ],
    ids=lambda text: repr(text[:3]),
)
def test_long_runs_neither_raise_nor_take_for_ever(text):
    """A million spaces, one long word, base64, digits, Chinese, emoji: within seconds, in both vocabularies."""
    preload()
    counter = ChatCounter("some-local-model")
    begin = time.process_time()
    assert 0 < counter.text(text) <= len(text.encode())
    assert time.process_time() - begin < 10


def test_nothing_here_calls_what_downloads():
    """`get_encoding` and `encoding_for_model` of tiktoken may wait for a download for ever: no module calls them."""
    package = Path(resilient_llm.__file__).parent
    for path in package.rglob("*.py"):
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        }
        assert not called & {"get_encoding", "encoding_for_model"}, path


@pytest.mark.parametrize("name", NAMES)
@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_counting_on_both_sides_of_a_boundary_is_exact(name, text):
    """Wherever a long text may be cut, the counts of the pieces add up to the count of the whole."""
    cuts = [0, *(match.end() for match in re.finditer(vocabulary._BOUNDARY, text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(cuts)]
    assert sum(map(VOCABULARIES[name].count, pieces)) == VOCABULARIES[name].count(text)


@given(text=TEXTS)
def test_slices_make_up_the_text(text):
    """Slices lose nothing, and none is longer than allowed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "_LONGEST", 10)
        pieces = list(slices(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= 10 for piece in pieces)


def test_a_long_text_is_cut_at_words():
    """A text of ordinary words counts exactly, however long it is."""
    text = "Once upon a time, there was a text; it was long. " * 12_000
    encoding = VOCABULARIES["o200k_base"].load()
    assert encoding is not None
    assert len(list(slices(text))) > 1
    assert VOCABULARIES["o200k_base"].count(text) == len(encoding.encode(text))


@pytest.mark.parametrize(
    "fault", [OSError("no such file"), ImportError("no tiktoken"), zlib.error("damaged")]
)
def test_a_vocabulary_that_cannot_load_falls_back_to_bytes_with_one_warning(monkeypatch, fault):
    """The count is then the number of bytes, never too small, and only the first one warns."""

    def fail(_name):
        raise fault

    monkeypatch.setattr(vocabulary, "read", fail)
    broken = Vocabulary("o200k_base")
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    with pytest.warns(RuntimeWarning, match="o200k_base cannot be loaded") as caught:
        assert broken.count("héllo") == 6
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert broken.count("hello") == 5
    assert broken.failed


def test_a_vocabulary_that_another_library_loaded_is_used(monkeypatch):
    """What tiktoken's registry already holds is not built a second time."""
    loaded = VOCABULARIES["cl100k_base"].load()
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {"cl100k_base": loaded})
    assert Vocabulary("cl100k_base").load() is loaded


def test_a_second_thread_uses_what_the_first_has_built():
    """Whoever waited for the lock does not build again."""
    vocabulary_ = Vocabulary("cl100k_base")
    vocabulary_._encoding = VOCABULARIES["cl100k_base"].load()
    assert vocabulary_._try_to_build() is None
    assert vocabulary_.load() is VOCABULARIES["cl100k_base"].load()
