"""What a fleet shares of circuits, cool-downs and retry budgets: the rules, as they also stand in the Lua script.

A record ends by itself. An epoch numbers the changes of a circuit: it is the time of the change or, if that is not
more, one more than the last, so that it goes on rising where all was lost. Who claims a probe gets one, and reports
with it; a report with another epoch is late and changes nothing.
"""

from __future__ import annotations

import attrs

from .fleet import MAX_RECORDS

KEPT = 600.0
"""Seconds for which a record outlives its use."""


@attrs.define
class Record:
    """What is known under one field; instants in seconds of one clock.

    Args:
        word: `open`, `closed`, `cool`, `spent` or `none`.
        until: The end of the time open, or of the cool-down.
        epoch: The number of the last change.
        amount: Of a circuit the seconds it was opened for, of a budget what is spent.
        why: Why it opened.
        probe: The end of the lease of a probe under way.
        dies: When it is forgotten.
    """

    word: str = "none"
    until: float = 0.0
    epoch: int = 0
    amount: float = 0.0
    why: str = ""
    probe: float = 0.0
    dies: float = 0.0

    def told(self, now: float) -> tuple[str, float]:
        """The word and the value that others are told."""
        if self.word == "open" and self.probe > now:
            return "held", self.probe - now
        if self.word == "spent":
            return "spent", self.amount
        return self.word, max(0.0, self.until - now)


class FleetBook:
    """All records of a fleet. `now` is in seconds of one clock; its owner locks."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}

    def find(self, field: str, now: float) -> Record:
        """The record of a field; an empty one if there is none, or if it has died."""
        record = self.records.get(field)
        return record if record is not None and record.dies > now else Record()

    def living(self, now: float) -> dict[str, Record]:
        """All that have not died; the others are forgotten."""
        self.records = {field: record for field, record in self.records.items() if record.dies > now}
        return self.records

    def claim(self, field: str, lease: float, now: float) -> tuple[bool, Record]:
        """Ask for the probe. Is it granted?"""
        record = self.find(field, now)
        if record.word == "closed" or max(record.until, record.probe) > now:
            return False, record
        record = attrs.evolve(
            record, word="open", epoch=_next(record, now), probe=now + lease, dies=now + lease + KEPT
        )
        self._keep(field, record, now)
        return True, record

    def open(
        self, field: str, seconds: float, duration: float, epoch: int, why: str, now: float
    ) -> tuple[bool, Record]:
        """Open a circuit: it tripped (epoch 0), or its probe failed. Has that changed anything?"""
        record = self.find(field, now)
        known = record.word == "open" and max(record.until, record.probe) > now
        if _late(epoch, record) or (not epoch and known):
            return False, record
        end = now + seconds
        record = Record("open", end, _next(record, now), duration, why, 0.0, end + KEPT)
        self._keep(field, record, now)
        return True, record

    def close(self, field: str, epoch: int, now: float) -> tuple[bool, Record]:
        """Close a circuit: its probe succeeded."""
        record = self.find(field, now)
        if _late(epoch, record):
            return False, record
        record = Record("closed", epoch=_next(record, now), dies=now + KEPT)
        self._keep(field, record, now)
        return True, record

    def give_back(self, field: str, epoch: int, now: float) -> tuple[bool, Record]:
        """Let another probe go: this one said nothing."""
        record = self.find(field, now)
        if not epoch or epoch != record.epoch:
            return False, record
        record = attrs.evolve(record, epoch=_next(record, now), probe=0.0)
        self._keep(field, record, now)
        return True, record

    def cool(self, field: str, seconds: float, now: float) -> tuple[bool, Record]:
        """Begin a cool-down, or prolong it."""
        record = self.find(field, now)
        end = now + seconds
        if end <= record.until:
            return False, record
        record = Record("cool", end, _next(record, now), dies=end)
        self._keep(field, record, now)
        return True, record

    def spend(self, field: str, amount: float, capacity: float, now: float) -> tuple[bool, Record]:
        """Spend from a retry budget, or earn if negative."""
        record = self.find(field, now)
        spent = min(capacity, max(0.0, record.amount + amount))
        record = Record("spent", 0.0, _next(record, now), spent, dies=now + KEPT)
        self._keep(field, record, now)
        return True, record

    def _keep(self, field: str, record: Record, now: float) -> None:
        if (
            field not in self.records
            and len(self.records) >= MAX_RECORDS
            and len(self.living(now)) >= MAX_RECORDS
        ):
            return
        self.records[field] = record


def _next(record: Record, now: float) -> int:
    return max(record.epoch + 1, int(now * 1000))


def _late(epoch: int, record: Record) -> bool:
    """Does the report of a claim come after another change? Where all was lost, any report is welcome."""
    return bool(epoch) and record.word != "none" and epoch != record.epoch
