"""The record of finished fits."""

from __future__ import annotations

import json
import statistics
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runner.search.record as record_module
from runner.search.record import FitEntry, FitRecord, candidate_id


def entry(number: int) -> FitEntry:
    return FitEntry.completed(
        f"c{number}", {"model.x": number}, f"fold{number}", "rows", {"accuracy": 0.5}, 1.25, ["x"]
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


ENTRIES = [entry(number) for number in range(4)]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A record of `ENTRIES`."""
    path = tmp_path_factory.mktemp("record") / "fits.jsonl"
    for each in ENTRIES:
        FitRecord(path).append(each)
    return path.read_bytes()


def written(path: Path, content: bytes) -> FitRecord:
    path.write_bytes(content)
    return FitRecord(path)


def _lines_of(content: bytes, positions: set[int]) -> set[int]:
    """Numbers of the lines at these positions, the newline being its line's last byte."""
    return {content[:position].count(b"\n") + 1 for position in positions}


def test_a_record_cut_at_any_byte_loses_its_last_entry_only(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fits.jsonl"
    for end in range(len(content) - 200, len(content)):
        record = written(path, content[:end])
        # With its newline alone missing, an entry is whole.
        lacks_newline = content[end : end + 1] == b"\n"
        n_whole = content[:end].count(b"\n") + lacks_newline
        assert list(record) == ENTRIES[:n_whole]
        damaged = [] if lacks_newline or content[end - 1] == 10 else [n_whole + 1]
        assert record.damaged_lines() == damaged
        found = [record.find(each.candidate, each.fold) for each in ENTRIES]
        assert found == [*ENTRIES[:n_whole], *[None] * (len(ENTRIES) - n_whole)]
        # What is written next stands on a line of its own.
        record.append(entry(9))
        assert list(record) == [*ENTRIES[:n_whole], entry(9)]
        assert record.find("c9", "fold9") == entry(9)
        record_module._indexes.clear()
        assert record.damaged_lines() == damaged


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_changed_bytes_cost_only_the_entries_they_are_in(
    tmp_path: Path, content: bytes, data: st.DataObject
) -> None:
    place = st.integers(0, len(content) - 1)
    newlines = st.sampled_from([at for at, byte in enumerate(content) if byte == 10])
    bytes_ = st.integers(0, 255) | st.sampled_from(b'\n"0 {')
    changes = data.draw(st.dictionaries(place | newlines, bytes_, max_size=4))
    changes = {at: byte for at, byte in changes.items() if content[at] != byte}
    changed = bytearray(content)
    for at, byte in changes.items():
        changed[at] = byte
    record = written(tmp_path / "fits.jsonl", bytes(changed))
    touched = _lines_of(content, set(changes))
    whole = [each for number, each in enumerate(ENTRIES, start=1) if number not in touched]
    read = list(record)
    # A changed newline need not cost anything, since what it ended is whole.
    assert [each for each in read if each in whole] == whole
    assert all(each in ENTRIES for each in read)
    assert bool(record.damaged_lines()) == bool(touched)
    for number, each in enumerate(ENTRIES, start=1):
        found = record.find(each.candidate, each.fold)
        assert found == each if number not in touched else found in (None, each)
    record_module._indexes.clear()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"{}", b" "]), max_size=5))
def test_no_bytes_crash_the_reader(tmp_path: Path, pieces: list[bytes]) -> None:
    record = written(tmp_path / "fits.jsonl", b"".join(pieces))
    assert list(record) == []
    n_lines = len(record.path.read_bytes().split(b"\n"))
    assert record.damaged_lines() == list(range(1, n_lines + 1))[: len(record.damaged_lines())]
    assert len(record.damaged_lines()) in (n_lines, n_lines - 1)


@pytest.mark.parametrize(
    "text",
    ["[]", "5", "null", "{}", '{"candidate": "c"}', '{"candidate": 1, "fold": 2}', "{", "[" * 5000],
)
def test_what_another_program_wrote_is_passed_over(tmp_path: Path, text: str) -> None:
    line = b"%08x %s\n" % (zlib.crc32(text.encode()), text.encode())
    record = written(tmp_path / "fits.jsonl", line)
    assert list(record) == []
    assert record.damaged_lines() == [1]


def test_an_entry_of_other_types_is_no_entry(tmp_path: Path) -> None:
    fields = {**asdict(entry(0)), "scores": {"accuracy": "high"}}
    text = json.dumps(fields).encode()
    record = written(tmp_path / "fits.jsonl", b"%08x %s\n" % (zlib.crc32(text), text))
    assert list(record) == []


@given(st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False)), st.text(max_size=9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_score_and_text_reads_back(tmp_path: Path, scores: dict[str, float], text: str) -> None:
    path = tmp_path / "fits.jsonl"
    path.unlink(missing_ok=True)
    kept = FitEntry("c", text, {text: [text, 10**30, None]}, "completed", scores, 0.1, error=text)
    FitRecord(path).append(kept)
    assert list(FitRecord(path)) == [kept]


def test_a_long_record_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = FitRecord(tmp_path / "fits.jsonl")
    for number in range(50):
        record.append(entry(number))
    assert record.find("c49", "fold49") == entry(49)
    lines: list[bytes] = []
    read = record_module._read
    monkeypatch.setattr(record_module, "_read", lambda line: lines.append(line) or read(line))
    record.append(entry(50))
    for number in range(50):
        assert record.find(f"c{number}", f"fold{number}") == entry(number)
    assert len(lines) == 1


def test_candidates_are_named_by_their_values() -> None:
    assert candidate_id({"a": 1, "b": 2.0}) == candidate_id({"b": 2.0, "a": 1})
    assert candidate_id({"a": 1}) != candidate_id({"a": 2})


FITS = st.tuples(
    st.sampled_from(["started", "completed", "failed"]),
    st.integers(0, 4),
    st.sampled_from([0.5, 1.0, 1.0, 2.5]),
    st.integers(0, 1),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fits=st.lists(FITS, max_size=25))
def test_counts_are_those_of_all_entries(tmp_path: Path, fits: list[Any]) -> None:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
    record = FitRecord(path, attempt=1)
    for status, number, fit_s, attempt in sorted(fits, key=lambda fit: fit[3]):
        noted = replace(entry(number), status=status, fit_s=fit_s)
        FitRecord(path, attempt).append(noted)
        ended = record.ended()
        seconds = [e.fit_s for e in ended if e.status == "completed"]
        assert record.n_ended() == len(ended)
        assert record.n_failed() == len(record.failed())
        assert record.usual_fit_s() == (statistics.median_low(seconds) if seconds else None)
        assert record.usual_fit_s(at_least=len(seconds) + 1) is None
