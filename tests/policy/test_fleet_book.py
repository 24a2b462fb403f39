"""What a fleet knows of circuits, cool-downs and retry budgets: the rules, to the instant."""

from __future__ import annotations

import pytest

from resilient_llm.policy import fleet_book
from resilient_llm.policy.fleet import News, Portions, Wanted
from resilient_llm.policy.fleet_book import KEPT, FleetBook, Record

NOW = 10.0


@pytest.fixture
def book() -> FleetBook:
    return FleetBook()


def test_a_record_starts_with_nothing() -> None:
    """No word, no change; what is said without figures says nothing of them."""
    assert Record() == Record("none", 0.0, 0, 0.0, "", 0.0, 0.0)
    assert News("f", "open") == News("f", "open", 0.0, 0, 0.0, "")
    assert Wanted("l", 9.0, 0.5, 1.0) == Wanted("l", 9.0, 0.5, 1.0, 0.0, ())
    assert Portions() == Portions((), 0.0)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (Record("open", until=12.0), ("open", 2.0)),
        (Record("open", until=5.0, probe=12.0), ("held", 2.0)),
        (Record("open", until=5.0, probe=10.0), ("open", 0.0)),
        (Record("closed", probe=12.0), ("closed", 0.0)),
        (Record("spent", amount=7.0), ("spent", 7.0)),
        (Record("cool", until=12.0, amount=7.0), ("cool", 2.0)),
    ],
)
def test_others_are_told_what_still_lasts(record: Record, told: tuple[str, float]) -> None:
    """Of a probe under way, of the time open or of the cool-down; of a budget, what is spent."""
    assert record.told(NOW) == told


def test_a_record_dies_at_its_instant(book) -> None:
    """From then on it is as if there had been none."""
    book.cool("f", 5.0, NOW)
    assert (book.find("f", 14.9).word, list(book.living(14.9))) == ("cool", ["f"])
    assert (book.find("f", 15.0), book.living(15.0)) == (Record(), {})


def test_a_claim_holds_the_probe_until_its_lease_ends(book) -> None:
    """To the instant; then the next one is granted, with a later number."""
    assert book.claim("f", 30.0, NOW) == (True, Record("open", 0.0, 10_000, probe=40.0, dies=40.0 + KEPT))
    refused, record = book.claim("f", 30.0, 39.9)
    assert (refused, record.epoch) == (False, 10_000)
    granted, record = book.claim("f", 30.0, 40.0)
    assert (granted, record.epoch, book.find("f", 40.0)) == (True, 40_000, record)


def test_a_claim_is_refused_while_the_circuit_is_open_or_closed(book) -> None:
    """At the end of the time open it is granted, and what is known of the circuit stays."""
    book.open("f", 5.0, 30.0, 0, "why", NOW)
    assert book.claim("f", 1.0, 14.9)[0] is False
    granted, record = book.claim("f", 1.0, 15.0)
    assert (granted, record.amount, record.why) == (True, 30.0, "why")
    book.close("f", record.epoch, 15.5)
    assert book.claim("f", 1.0, 15.5)[0] is False


def test_who_trips_first_opens_it_until_its_time_is_over(book) -> None:
    """Who trips later changes nothing, neither while it is open nor while a probe is under way."""
    opened = Record("open", 15.0, 10_000, 30.0, "first", dies=15.0 + KEPT)
    assert book.open("f", 5.0, 30.0, 0, "first", NOW) == (True, opened)
    assert book.find("f", NOW) == opened
    assert book.open("f", 9.0, 9.0, 0, "later", 14.9) == (False, opened)
    _, probe = book.claim("f", 5.0, 15.0)
    assert book.open("f", 9.0, 9.0, 0, "later", 19.9) == (False, probe)
    assert book.open("f", 9.0, 9.0, 0, "later", 20.0)[0] is True


def test_only_the_probe_of_the_last_claim_may_report(book) -> None:
    """Its failure opens the circuit anew at once; the report of an older claim is late, whatever it says."""
    _, first = book.claim("f", 1.0, NOW)
    _, second = book.claim("f", 1.0, 11.0)
    assert book.open("f", 9.0, 9.0, first.epoch, "late", 11.5) == (False, second)
    assert book.close("f", first.epoch, 11.5) == (False, second)
    assert book.give_back("f", first.epoch, 11.5) == (False, second)
    assert book.open("f", 9.0, 9.0, second.epoch, "failed", 11.5)[0] is True


def test_a_report_is_welcome_where_nothing_is_known_or_nobody_claimed(book) -> None:
    """Where all was lost any number will do, and a circuit without a claim is closed by who says so."""
    assert book.close("f", 17, NOW) == (True, Record("closed", epoch=10_000, dies=NOW + KEPT))
    assert book.find("f", NOW).word == "closed"
    book.open("g", 5.0, 5.0, 0, "", NOW)
    assert book.close("g", 0, NOW)[0] is True


def test_a_probe_given_back_leaves_its_place_to_the_next(book) -> None:
    """At once, and its own number is late from then on; without a number nothing is given back."""
    _, probe = book.claim("f", 30.0, NOW)
    assert book.give_back("f", 0, NOW) == (False, probe)
    changed, record = book.give_back("f", probe.epoch, NOW)
    assert (changed, record.probe, record.epoch) == (True, 0.0, probe.epoch + 1)
    assert book.find("f", NOW) == record
    assert book.claim("f", 30.0, NOW)[0] is True
    assert book.give_back("g", 0, NOW) == (False, Record())


def test_a_cool_down_is_prolonged_only(book) -> None:
    """One that ends at the same instant, or earlier, changes nothing."""
    assert book.cool("f", 5.0, NOW) == (True, Record("cool", 15.0, 10_000, dies=15.0))
    assert [book.cool("f", seconds, NOW)[0] for seconds in (4.0, 5.0, 6.0)] == [False, False, True]
    assert book.find("f", 15.5) == Record("cool", 16.0, 10_001, dies=16.0)


def test_what_is_spent_stays_between_nothing_and_the_capacity(book) -> None:
    """And is kept for ten minutes after the last change."""
    steps = [(14, 14), (5, 19), (5, 20), (-6, 14), (-15, 0)]
    for number, (amount, spent) in enumerate(steps):
        record = Record("spent", 0.0, 10_000 + number, spent, dies=NOW + 600)
        assert book.spend("f", amount, 20, NOW) == (True, record)
        assert book.find("f", NOW) == record


def test_a_full_book_takes_no_new_fields_until_one_dies(book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those it has go on changing."""
    monkeypatch.setattr(fleet_book, "MAX_RECORDS", 2)
    for field, seconds in (("a", 5.0), ("b", 20.0), ("c", 20.0), ("b", 30.0)):
        book.cool(field, seconds, NOW)
    assert {field: record.until for field, record in book.records.items()} == {"a": 15.0, "b": 40.0}
    book.cool("c", 20.0, 15.0)
    assert list(book.records) == ["b", "c"]
