"""The record of finished fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.search.record import FitEntry, FitRecord, candidate_id


def entry(number: int) -> FitEntry:
    return FitEntry.completed(
        f"c{number}", {"model.x": number}, f"fold{number}", "rows", {"accuracy": 0.5}, 1.25
    )


def test_entries_read_back_in_order(tmp_path: Path) -> None:
    record = FitRecord(tmp_path / "fits.jsonl")
    for number in range(3):
        record.append(entry(number))
    assert list(record) == [entry(0), entry(1), entry(2)]


def test_no_file_is_an_empty_record(tmp_path: Path) -> None:
    assert list(FitRecord(tmp_path / "fits.jsonl")) == []


def test_failure_keeps_message_and_traceback() -> None:
    try:
        raise ValueError("too deep")
    except ValueError as error:
        failure = FitEntry.failed("c", {"a": 1}, "fold", error)
    assert failure.error == "ValueError: too deep"
    assert "test_failure_keeps_message_and_traceback" in failure.trace


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damage_costs_only_the_damaged_entry(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "fits.jsonl"
    for number in range(2):
        FitRecord(path).append(entry(number))
    content = bytearray(path.read_bytes())
    length = content.index(b"\n") + 1
    for position in range(length, len(content)):
        changed = content[:position] if damage == "cut" else bytearray(content)
        if damage == "flip":
            changed[position] ^= 4
        path.write_bytes(changed)
        assert list(FitRecord(path)) == [entry(0)]


def test_candidates_are_named_by_their_values() -> None:
    assert candidate_id({"a": 1, "b": 2.0}) == candidate_id({"b": 2.0, "a": 1})
    assert candidate_id({"a": 1}) != candidate_id({"a": 2})
