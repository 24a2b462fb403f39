"""What a cache holds, against a model that keeps a plain list."""

from __future__ import annotations

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilient_llm.policy.cache_entries import OVERHEAD, CacheEntries

KEYS = st.sampled_from(["a", "b", "c", "dd", "eee"])
ROOM = 3 * OVERHEAD + 40


class Model(RuleBasedStateMachine):
    """A list of (key, value, until), the least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = CacheEntries(max_entries=3, max_bytes=ROOM)
        self.model: list[tuple[str, bytes, float]] = []
        self.now = 0.0

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=KEYS, size=st.sampled_from([0, 1, 5, 8, 20, 300, 700]), age=st.sampled_from([5.0, 50.0, 100.0]))
    def put(self, key: str, size: int, age: float) -> None:
        value = bytes(size)
        self.entries.put(key, value, self.now + age)
        self.model = [entry for entry in self.model if entry[0] != key]
        if len(key) + size + OVERHEAD <= ROOM:
            self.model.append((key, value, self.now + age))
        while len(self.model) > 3 or self.taken() > ROOM:
            self.model.pop(0)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        found = next((entry for entry in self.model if entry[0] == key), None)
        self.model = [entry for entry in self.model if entry[0] != key]
        alive = found is not None and self.now < found[2]
        if alive:
            self.model.append(found)
        assert self.entries.get(key, self.now) == (found[1] if alive else None)

    @rule()
    def clear(self) -> None:
        self.entries.clear()
        self.model = []

    def taken(self) -> int:
        return sum(len(key) + len(value) + OVERHEAD for key, value, _ in self.model)

    @invariant()
    def the_same_size(self) -> None:
        assert (len(self.entries), self.entries.size) == (len(self.model), self.taken())


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_what_was_not_asked_for_the_longest_goes_first() -> None:
    """Asking counts as use, looking in vain does not; an entry that is put again is the newest."""
    entries = CacheEntries(max_entries=3, max_bytes=10_000)
    for key in "abc":
        entries.put(key, b"", 10.0)
    assert entries.get("a", 0.0) == b""
    entries.put("b", b"again", 10.0)
    entries.put("d", b"", 10.0)
    assert [entries.get(key, 0.0) for key in "abcd"] == [b"", b"again", None, b""]


def test_an_entry_ends_at_its_age_and_not_before() -> None:
    """Found just before, not at it."""
    entries = CacheEntries(max_entries=1, max_bytes=1000)
    entries.put("a", b"x", 10.0)
    assert entries.get("a", 9.999) == b"x"
    assert entries.get("a", 10.0) is None
    assert len(entries) == 0


@pytest.mark.parametrize(
    "bounds", [{"max_entries": -1, "max_bytes": 1}, {"max_entries": 1, "max_bytes": 1.5}]
)
def test_bounds_are_whole_numbers(bounds) -> None:
    """Anything else is refused when it is made."""
    with pytest.raises((TypeError, ValueError), match="max_"):
        CacheEntries(**bounds)


def test_threads_share_it() -> None:
    """Two threads that put and get leave counts that are right."""
    entries = CacheEntries(max_entries=10, max_bytes=10_000)

    def work(start: int) -> None:
        for number in range(start, start + 500):
            entries.put(str(number % 17), bytes(number % 50), 1.0)
            entries.get(str(number % 13), 0.0)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(str(key), entries.get(str(key), 0.0)) for key in range(17)]
    kept = [(key, value) for key, value in found if value is not None]
    assert len(entries) == len(kept) == 10
    assert entries.size == sum(len(key) + len(value) + OVERHEAD for key, value in kept)


def test_what_fits_exactly_is_kept() -> None:
    """To the byte, by itself and beside others."""
    entries = CacheEntries(max_entries=9, max_bytes=2 * (OVERHEAD + 2))
    for key in "ab":
        entries.put(key, b"x", 10.0)
    assert (len(entries), entries.size) == (2, entries.max_bytes)
    entries.put("c", b"x" * (OVERHEAD + 3), 10.0)
    assert (len(entries), entries.size, entries.get("c", 0.0) is None) == (1, entries.max_bytes, False)
