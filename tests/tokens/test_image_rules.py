"""What images cost: the makers' published examples, and what must hold for every size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_llm.tokens.image_rules import ClaudePatches, Constant, Patches, Tiles, image_rule

SIDES = st.integers(1, 9_000) | st.integers(1, 60)
MODELS = ["gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "gpt-5.4", "gpt-5.5", "o3", "o4-mini"]
CLAUDES = ["claude-3-5-sonnet-20241022", "claude-opus-4.7"]


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), "high", 765),
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", 85),
        ((128, 64), "high", 255),
        ((2049, 513), "high", 1445),
        ((2050, 513), "high", 765),
    ],
)
def test_tiles_as_published(size, detail, tokens):
    """OpenAI's three examples for gpt-4o, and three sizes that people had billed."""
    assert image_rule("gpt-4o")(size, detail) == tokens


@pytest.mark.parametrize(
    ("size", "patches"), [((1024, 1024), 1024), ((1800, 2400), 1452), ((4000, 1474), 1536), ((16, 16), 1)]
)
def test_patches_as_published(size, patches):
    """OpenAI's two examples before the multiplier, one that people had billed, and a speck."""
    assert Patches(1.0)(size) == patches


@pytest.mark.parametrize(
    ("size", "standard", "sharp"),
    [
        ((200, 200), 64, 64),
        ((1000, 1000), 1296, 1296),
        ((1092, 1092), 1521, 1521),
        ((1920, 1080), 1560, 2691),
        ((2000, 1500), 1564, 3888),
        ((3840, 2160), 1560, 4784),
    ],
)
def test_claude_s_patches_as_published(size, standard, sharp):
    """Anthropic's table of both resolutions."""
    assert ClaudePatches(1_568, 1_568)(size) == standard
    assert image_rule("claude-opus-4-8")(size) == sharp


@pytest.mark.parametrize(("size", "tokens"), [((200, 200), 54), ((1000, 1000), 1334), ((1092, 1092), 1590)])
def test_claude_s_older_rule_counts_where_it_gives_more(size, tokens):
    """Width times height by 750, as Anthropic had it before: never less than either rule says."""
    older = -(-size[0] * size[1] // 750)
    assert older == pytest.approx(tokens, abs=1)
    assert image_rule("claude-sonnet-4-5")(size) == max(older, ClaudePatches(1_568, 1_568)(size))


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("gpt-4o-2024-08-06", Tiles(85, 170)),
        ("openai/gpt-4o", Tiles(85, 170)),
        ("gpt-4o-mini-2024-07-18", Tiles(2833, 5667)),
        ("gpt-4.1", Tiles(85, 170)),
        ("gpt-4.1-mini", Patches(1.62)),
        ("gpt-5-chat-latest", Tiles(70, 140)),
        ("gpt-5-nano", Patches(2.46)),
        ("o1-pro", Tiles(75, 150)),
        ("o4-mini", Patches(1.72)),
        ("claude-3-haiku-20240307", ClaudePatches(1568, 1568, 750)),
        ("claude-opus-4-6", ClaudePatches(1568, 1568, 750)),
        ("claude-mythos-9", ClaudePatches(2576, 4784)),
        ("llava:13b", Constant(1600)),
        ("", Constant(1600)),
    ],
)
def test_the_rule_is_found_by_the_model_s_name(model, rule):
    """Dated names, makers' prefixes, models to come; a constant for all others."""
    assert image_rule(model) == rule


@pytest.mark.parametrize("model", MODELS + CLAUDES)
@given(width=SIDES, height=SIDES)
@settings(max_examples=50, deadline=None)
def test_an_unknown_size_costs_the_most_that_any_image_does(model, width, height):
    """So a URL is never counted too low; no image costs nothing."""
    rule = image_rule(model)
    for detail in ("low", "high", "auto", "original", "new"):
        assert 0 < rule((width, height), detail) <= rule(None, detail)


@pytest.mark.parametrize("model", MODELS + CLAUDES)
@given(width=SIDES, height=SIDES)
@settings(max_examples=50, deadline=None)
def test_more_detail_never_costs_less(model, width, height):
    """Low, high, original; and `auto` is not below `high`."""
    rule = image_rule(model)
    low, high, original, auto = (
        rule((width, height), detail) for detail in ("low", "high", "original", "auto")
    )
    assert low <= high <= original
    assert high <= auto


def test_original_detail_is_for_the_models_that_offer_it():
    """10,000 patches at most there; elsewhere the word changes nothing."""
    large = (4_000, 3_000)
    assert image_rule("gpt-5.4")(large, "original") > image_rule("gpt-5.4")(large)
    assert image_rule("gpt-5.5")(large, "original") == image_rule("gpt-5.5")(large)
    assert image_rule("gpt-5-mini")(large, "original") == image_rule("gpt-5-mini")(large)


def test_a_constant_is_a_whole_number():
    """One below zero is refused, by the name of the option that it came from."""
    with pytest.raises(ValueError, match="image_tokens must be 0 or more, not -1"):
        Constant(-1)
