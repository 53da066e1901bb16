"""The ledger: nothing acknowledged is lost, nothing is done twice, nothing is tampered with unseen."""

import datetime
import errno
import hashlib
import hmac
import itertools
import json
import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unlearning.ledgers import START, Killed, ask, clock, contents, killed_at, make
from tfpdu.common import UserError
from tfpdu.common.run_directory import RunDirectory
from tfpdu.unlearning.ledger import Ledger
from tfpdu.unlearning.selection import Selector

DAY = datetime.timedelta(days=1)


def names(requests):
    return [request.request_id for request in requests]


def one_round(ledger, **result):
    return ledger.finish_round(ledger.start_round(), result)


# ---- known answers ------------------------------------------------------------------------------


def test_a_line_carries_all_of_it_and_its_own_sha256_and_the_one_before(tmp_path):
    ledger = make(tmp_path, days=10)
    ask(ledger, "row-2", "row-1", name="r1")
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    for line, fields in zip(lines, (first, second), strict=True):
        checksum = fields.pop("sha256")
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(body.encode()).hexdigest() == checksum
        assert line == json.dumps({**fields, "sha256": checksum}, sort_keys=True, separators=(",", ":"))
        fields["sha256"] = checksum
    assert (first["seq"], first["kind"], first["previous"]) == (1, "opened", "0" * 64)
    assert first["payload"]["days"] == 10
    assert (second["seq"], second["kind"], second["request_id"]) == (2, "request", "r1")
    assert second["time"] == "2025-01-31T12:01:00Z"
    assert second["previous"] == first["sha256"]
    secret = bytes(range(32))
    digests = [hmac.new(secret, b"id\x1f" + i, hashlib.sha256).hexdigest()[:32] for i in (b"row-1", b"row-2")]
    assert second["payload"]["rows"] == sorted(digests)


def test_a_request_is_due_after_the_days_given_at_creation(tmp_path):
    request = ask(make(tmp_path, days=10), "a")
    assert request.due - request.time == 10 * DAY
    assert not request.overdue(request.due)
    assert request.overdue(request.due + DAY)
    assert Ledger(tmp_path).days == 10
    (tmp_path / "b").mkdir()
    assert make(tmp_path / "b").days == 30


def test_a_round_takes_what_is_pending_and_no_later_request(tmp_path):
    ledger = make(tmp_path)
    assert ledger.start_round() is None
    ask(ledger, "a", "b", name="one")
    ask(ledger, "b", "c", name="two")
    round_ = ledger.start_round()
    ask(ledger, "d", name="three")
    assert round_.requests == ("one", "two")
    assert ledger.covered(round_) == ("a", "b", "c")
    assert [r.state for r in ledger.history().requests.values()] == ["running", "running", "pending"]
    assert ledger.deleted("abcd") == frozenset()
    assert ledger.deleted("abcd", also=round_) == set("abc")
    assert ledger.requested("abcdef") == set("abcd")
    done = ledger.finish_round(round_, {"shards": [1], "loss": np.float32(0.5)})
    assert done.result == {"shards": [1], "loss": 0.5}
    assert names(ledger.done()) == ["one", "two"]
    assert names(ledger.pending()) == ["three"]
    assert ledger.deleted("abcd") == set("abc")
    assert ledger.history().requests["one"].done == done.finished > round_.started >= START
    second = ledger.start_round()
    assert (second.number, second.requests) == (2, ("three",))


def test_a_killed_round_is_found_with_the_same_requests_and_done_once(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "a", name="one")
    first = ledger.start_round()
    ask(ledger, "b", name="two")
    again = Ledger(tmp_path).start_round()
    assert again == first
    ledger.finish_round(first, {"seconds": 1})
    lines = len(ledger.entries())
    assert ledger.finish_round(again, {"seconds": 2}).result == {"seconds": 1}
    assert len(ledger.entries()) == lines
    assert ledger.start_round().requests == ("two",)


def test_the_same_request_is_acknowledged_once_and_another_under_its_id_is_refused(tmp_path):
    ledger = make(tmp_path)
    first = ask(ledger, "a", "b", name="r")
    before = contents(tmp_path)
    assert ask(ledger, "b", "a", "a", name="r") == first
    assert ledger.acknowledged("r", Selector(("a", "b"))) == first
    assert ledger.acknowledged("other", Selector(("a", "b"))) is None
    with pytest.raises(UserError, match=r"--request_id=r: was used for another request on 2025-01-31"):
        ask(ledger, "a", "c", name="r")
    with pytest.raises(UserError, match="was used for another request"):
        ledger.acknowledged("r", Selector(where="label==1"))
    assert contents(tmp_path) == before
    one_round(ledger)
    ledger.erase(ledger.history().rounds[1])
    again = ask(ledger, "a", "b", name="r")
    assert (again.seq, again.state, again.time) == (first.seq, "done", first.time)


def test_the_same_wording_is_the_same_request_whatever_it_means_by_now(tmp_path):
    ledger = make(tmp_path)
    first = ledger.request(Selector(where="label==3"), ["a", "b"], "r")
    assert ledger.request(Selector(where="label==3"), ["c"], "r") == first
    assert ledger.requested("abc") == {"a", "b"}


def test_requests_without_an_id_get_one_each(tmp_path):
    ledger = make(tmp_path)
    assert len({ask(ledger, "a").request_id for _ in range(3)}) == 3
    assert len(ledger.pending()) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "expected one line of 1 to 200 characters"),
        ("a\nb", "expected one line"),
        ("x" * 201, "1 to 200"),
        ("forget row-0001 please", "holds an id or subject"),
        ("for Alice", "holds an id or subject"),
    ],
)
def test_request_ids_are_one_line_and_hold_nothing_that_is_to_be_forgotten(tmp_path, name, message):
    ledger = make(tmp_path)
    before = contents(tmp_path)
    selector = Selector(subject="Alice") if "Alice" in name else Selector(("row-0001",))
    with pytest.raises(UserError, match=message):
        ledger.request(selector, ["row-0001"], name)
    assert contents(tmp_path) == before


def test_a_name_that_was_drawn_at_random_is_never_refused(tmp_path, monkeypatch):
    drawn = uuid.UUID("00420000000000000000000000000000")
    monkeypatch.setattr(uuid, "uuid4", lambda: drawn)
    assert make(tmp_path).request(Selector(ids=("0042",)), ["0042"]).request_id == drawn.hex


def test_a_request_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="without rows"):
        make(tmp_path).request(Selector(where="label==1"), [])


# ---- creation -----------------------------------------------------------------------------------


def test_the_secret_is_the_owners_alone(tmp_path):
    ask(make(tmp_path, secret=None), "a")
    for name, mode in (("ledger.salt", 0o600), ("ledger.clear", 0o700), ("ledger.clear/2.json", 0o600)):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert len((tmp_path / "ledger.salt").read_bytes()) == 32
    (tmp_path / "b").mkdir()
    make(tmp_path / "b", secret=None)
    assert (tmp_path / "b" / "ledger.salt").read_bytes() != (tmp_path / "ledger.salt").read_bytes()


def test_a_ledger_that_is_there_is_opened_and_keeps_its_days(tmp_path):
    ask(make(tmp_path, days=7), "a", name="r")
    before = contents(tmp_path)
    assert names(Ledger.create(tmp_path).pending()) == ["r"]
    with pytest.raises(UserError, match="made with requests due after 7 days, not 8"):
        Ledger.create(tmp_path, days=8)
    assert contents(tmp_path) == before


def test_what_is_no_ledger_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"ledger\.jsonl: there is no deletion ledger"):
        Ledger(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Ledger.create(tmp_path / "missing")
    with pytest.raises(UserError, match="days: expected a whole number of at least 1, got 0"):
        Ledger.create(tmp_path, days=0)
    assert not contents(tmp_path)


@pytest.mark.parametrize("secret", [bytes(32), b"short", None])
def test_another_secret_a_short_one_and_none_are_refused(tmp_path, secret):
    make(tmp_path)
    if secret is None:
        (tmp_path / "ledger.salt").unlink()
    else:
        (tmp_path / "ledger.salt").write_bytes(secret)
    with pytest.raises(UserError, match=r"ledger\.salt: (is not the secret|salt: expected 32|the secret of)"):
        Ledger(tmp_path)


# ---- tampering ----------------------------------------------------------------------------------


def busy(directory):
    """A ledger of twelve lines of every kind."""
    ledger = make(directory)
    for number in range(2):
        ask(ledger, f"row-{number}a", f"row-{number}b", name=f"ids-{number}")
        ledger.request(Selector(subject=f"person {number}"), [f"row-{number}c"], f"subject-{number}")
        round_ = one_round(ledger, shards=[number])
        ledger.note("purge", {"files": 3})
        ledger.erase(round_)
    ask(ledger, "row-2", name="last")
    return ledger


def test_every_edit_removal_move_and_copy_of_a_line_is_noticed_and_named(tmp_path):
    ledger = busy(tmp_path)
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 14
    for i in range(len(lines)):
        tampered = {
            "edited": (i, [*lines[:i], lines[i].replace(b'"kind":"', b'"kind":"X'), *lines[i + 1 :]]),
            "spaced": (i, [*lines[:i], lines[i].replace(b":", b": ", 1), *lines[i + 1 :]]),
            "emptied": (i, [*lines[:i], b"\n", *lines[i + 1 :]]),
            "removed": (i, [*lines[:i], *lines[i + 1 :]]),
            "doubled": (i + 1, [*lines[: i + 1], lines[i], *lines[i + 1 :]]),
        }
        if i + 1 < len(lines):
            tampered["moved"] = (i, [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]])
        for number, changed in tampered.values():
            path.write_bytes(b"".join(changed))
            before = contents(tmp_path)
            for attempt in (ledger.history, ledger.start_round, lambda: ask(ledger, "x"), lambda: Ledger(tmp_path)):
                with pytest.raises(UserError, match=rf"ledger\.jsonl: line {number + 1}: "):
                    attempt()
            assert contents(tmp_path) == before
    path.write_bytes(whole)
    assert names(ledger.pending()) == ["last"]


@pytest.fixture(scope="module")
def busy_ledger(tmp_path_factory):
    """A directory, its ledger and the bytes of the chain."""
    directory = tmp_path_factory.mktemp("busy")
    return directory, busy(directory), (directory / "ledger.jsonl").read_bytes()


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_no_byte_can_be_changed_unseen(busy_ledger, place, bits):
    directory, ledger, whole = busy_ledger
    changed = bytearray(whole)
    changed[int(place * len(whole))] ^= bits  # also the last line feed: then an acknowledged line is torn
    (directory / "ledger.jsonl").write_bytes(changed)
    with pytest.raises(UserError, match=r"ledger\.jsonl: line \d+: "):
        ledger.history()


def test_a_line_that_was_sealed_anew_does_not_fit_its_neighbours(tmp_path):
    ledger = busy(tmp_path)
    path = tmp_path / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for i in (3, 13):
        fields = json.loads(lines[i])
        del fields["sha256"]
        fields["time"] = "2024-01-01T00:00:00Z"
        body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        fields["sha256"] = hashlib.sha256(body).hexdigest()
        forged = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        path.write_bytes(b"".join([*lines[:i], forged, *lines[i + 1 :]]))
        with pytest.raises(UserError, match="line 5: does not follow" if i == 3 else "line 14: is not the line that"):
            ledger.history()


def test_a_ledger_that_is_gone_while_its_head_is_there_is_not_made_anew(tmp_path):
    ask(make(tmp_path), "a")
    (tmp_path / "ledger.jsonl").unlink()
    with pytest.raises(UserError, match=r"ledger\.jsonl: is missing, and had 2 acknowledged lines"):
        Ledger.create(tmp_path)
    with pytest.raises(UserError, match="is missing"):
        Ledger.found(tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists()
    (tmp_path / "ledger.head").write_text("nonsense")
    with pytest.raises(UserError, match=r"ledger\.head: expected a line number and a checksum"):
        Ledger.create(tmp_path)


@pytest.mark.parametrize("change", ["ids", "asked", "not json", "no keys", "gone"])
def test_clear_ids_that_were_changed_or_removed_are_refused(tmp_path, change):
    ledger = make(tmp_path)
    request = ask(ledger, "a", "b", name="r")
    path = tmp_path / "ledger.clear" / "2.json"
    clear = json.loads(path.read_text())
    if change == "gone":
        path.unlink()
    elif change == "not json":
        path.write_text("{")
    else:
        clear = {"ids": {**clear, "ids": ["a", "c"]}, "asked": {**clear, "asked": {}}}.get(change, {})
        path.write_text(json.dumps(clear))
    for attempt in (lambda: ledger.clear_ids(request), lambda: ledger.covered(ledger.start_round())):
        with pytest.raises(UserError, match=r"2\.json: (is not what|not valid JSON|no such file)"):
            attempt()


# ---- erasing ------------------------------------------------------------------------------------


def test_after_erasing_nothing_is_left_in_the_clear_and_the_deleted_are_still_known(tmp_path):
    ledger = make(tmp_path)
    ledger.request(Selector(subject="Alice Müller"), ["row-0001", "row-0002"], "r1")
    ledger.request(Selector(where="name=='Alice'"), ["row-0003"], "r2")
    round_ = one_round(ledger)
    ask(ledger, "row-0004", name="later")
    chain = (tmp_path / "ledger.jsonl").read_bytes()
    private = [b"row-000", b"Alice", "Müller".encode(), b"M\\u00fc"]
    assert any(text in (tmp_path / "ledger.clear" / "2.json").read_bytes() for text in private)
    ledger.erase(round_)
    assert (tmp_path / "ledger.jsonl").read_bytes().startswith(chain)
    for path, data in contents(tmp_path).items():
        if path != "ledger.clear/6.json":  # still pending
            assert not any(text in (data or b"") + path.encode() for text in private)
    again = Ledger(tmp_path)
    assert again.deleted([f"row-000{i}" for i in range(1, 6)]) == {"row-0001", "row-0002", "row-0003"}
    assert again.history().rounds[1].erased
    assert again.history().requests["r1"].erased
    with pytest.raises(UserError, match="request 'r1': its ids were erased"):
        again.covered(round_)
    assert again.clear_ids(again.pending()[0]) == ("row-0004",)
    lines = len(again.entries())
    again.erase(round_)
    assert len(again.entries()) == lines


def test_what_is_still_needed_is_not_erased(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "a")
    round_ = ledger.start_round()
    before = contents(tmp_path)
    with pytest.raises(UserError, match="round 1 is not finished"):
        ledger.erase(round_)
    assert contents(tmp_path) == before


def test_notes_and_results_may_hold_no_id_and_no_subject(tmp_path):
    ledger = make(tmp_path)
    ledger.request(Selector(subject="Alice"), ['row-\u00e4"1'], "r")
    round_ = ledger.start_round()
    for payload in ({"rows": ['row-\u00e4"1']}, {"Alice": 1}, {"a": [{"b": "Alice"}]}):
        with pytest.raises(UserError, match="is the id or subject of a request"):
            ledger.note("purge", payload)
        with pytest.raises(UserError, match="is the id or subject of a request"):
            ledger.finish_round(round_, payload)
    assert ledger.note("purge", {"rows": ["other"]}, "r").request_id == "r"
    with pytest.raises(UserError, match="'round done' is not a note"):
        ledger.note("round done", {})
    assert [entry.payload for entry in ledger.entries("purge")] == [{"rows": ["other"]}]


def test_a_round_of_another_ledger_is_not_finished_here(tmp_path):
    (tmp_path / "b").mkdir()
    ledger = make(tmp_path)
    ask(ledger, "a", name="one")
    other = make(tmp_path / "b")
    ask(other, "a", name="two")
    ledger.start_round()
    with pytest.raises(UserError, match="holds no round 1 with these requests"):
        ledger.finish_round(other.start_round())


# ---- kills --------------------------------------------------------------------------------------

STEPS = {
    "create": lambda path: make(path),
    "request": lambda path: ask(make(path), "a", "b", name="two"),
    "start": lambda path: make(path).start_round(),
    "finish": lambda path: make(path).finish_round(make(path).history().rounds[1], {"x": 1}),
    "note": lambda path: make(path).entries("purge") or make(path).note("purge", {}),
    "erase": lambda path: make(path).erase(make(path).history().rounds[1]),
}


def before_step(directory, step):
    if step == "create":
        return
    ask(make(directory), "z", name="one")
    if step in ("finish", "note", "erase"):
        ask(make(directory), "a", "b", name="two")
        make(directory).start_round()
    if step == "erase":
        one_round(make(directory))


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_system_call_a_step_is_done_by_asking_again(tmp_path, step, monkeypatch):
    monkeypatch.setattr("tests.unlearning.ledgers.clock", lambda: lambda: START)
    calm = tmp_path / "calm"
    calm.mkdir()
    before_step(calm, step)
    with killed_at(10**6) as made:
        STEPS[step](calm)
    assert len(made) > 2
    for call, name in enumerate(made, 1):
        for share in (0.0, 0.5, 1.0) if name == "write" else (1.0,):
            rough = tmp_path / f"{call}-{share}"
            rough.mkdir()
            before_step(rough, step)
            with pytest.raises(Killed), killed_at(call, share):
                STEPS[step](rough)
            found = Ledger.found(rough)
            if step != "create":
                assert found is not None
                assert "one" in found.history().requests
            elif found is not None:
                assert not found.pending()
            STEPS[step](rough)
            assert contents(rough) == contents(calm)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("request"), st.sets(st.sampled_from("abcdef"), min_size=1), st.integers(0, 4)),
        st.tuples(st.sampled_from(["start", "finish", "erase"])),
        st.tuples(st.just("kill"), st.integers(0, 10**6), st.sampled_from(["request", "note"])),
    ),
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@given(OPERATIONS)
def test_whatever_happens_no_acknowledged_request_is_lost_or_done_twice(tmp_path_factory, operations):
    directory = tmp_path_factory.mktemp("run")
    ledger = make(directory)
    path = directory / "ledger.jsonl"
    acknowledged, running, gone, taken = {}, None, set(), []
    for operation, *values in operations:
        head = (directory / "ledger.head").read_text()
        if operation == "request":
            rows, number = values
            try:
                request = ask(ledger, *rows, name=f"r{number}")
            except UserError:
                assert acknowledged[f"r{number}"] != rows
                continue
            assert acknowledged.setdefault(request.request_id, rows) == rows
        elif operation == "kill":  # in the middle of writing a line, which is cut at any byte
            size = path.stat().st_size
            if values[1] == "request":
                ask(ledger, "y", name="unheard")
                (directory / "ledger.head").write_text(head)
            else:
                ledger.note("purge", {"some": "thing"})
            whole = path.read_bytes()
            path.write_bytes(whole[: size + values[0] % (len(whole) - size)])
        elif operation == "start":
            round_ = ledger.start_round()
            pending = [name for name in acknowledged if name not in taken]
            if running is None and round_ is not None:
                assert list(round_.requests) == pending
                taken += pending
            assert (round_ is None) == (running is None and not pending)
            assert running is None or round_ == running
            running = round_
        elif operation == "finish" and running is not None:
            ledger.finish_round(running)
            gone |= set().union(*(acknowledged[name] for name in running.requests))
            running = None
        elif operation == "erase":
            for round_ in ledger.history().rounds.values():
                if round_.finished is not None:
                    ledger.erase(round_)
        ledger = Ledger(directory, clock())
        assert set(ledger.history().requests) == set(acknowledged)
        assert ledger.deleted("abcdefxyz") == gone
        assert ledger.requested("abcdefxyz") == set().union(*acknowledged.values())
        for request in ledger.pending():
            assert ledger.clear_ids(request) == tuple(sorted(acknowledged[request.request_id]))


def test_a_torn_last_line_is_cut_off_and_the_ledger_goes_on(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "a", name="one")
    whole = (tmp_path / "ledger.jsonl").read_bytes()
    with open(tmp_path / "ledger.jsonl", "ab") as file:
        file.write(b'{"kind":"request","payl')
    (tmp_path / "ledger.clear" / "3.json").write_text('{"ids":["nobody"')
    assert names(ledger.pending()) == ["one"]
    assert names(ledger.start_round() and ledger.history().requests.values()) == ["one"]
    assert (tmp_path / "ledger.jsonl").read_bytes().startswith(whole + b'{"kind":"round started"')
    assert sorted(path.name for path in (tmp_path / "ledger.clear").iterdir()) == ["2.json"]


def test_an_acknowledged_request_that_was_cut_off_is_missed(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "a")
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="line 2: is missing, and was acknowledged"):
        ledger.pending()


# ---- disks that fail ----------------------------------------------------------------------------

FAILING = {
    "request": lambda ledger: ask(ledger, "a", name="new"),
    "start": lambda ledger: ledger.start_round(),
    "note": lambda ledger: ledger.note("purge", {}),
}


def refusal(step, ledger):
    """What a step that could not be done says; nothing if it was done."""
    try:
        FAILING[step](ledger)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("step", FAILING)
def test_a_disk_that_fails_anywhere_leaves_everything_as_it_was(tmp_path, monkeypatch, step, call):
    ledger = make(tmp_path)
    ask(ledger, "z", name="old")
    before, original, refusals = contents(tmp_path), getattr(os, call), 0
    for number in range(1, 20):
        calls = itertools.count(1)
        failed = []

        def fail(*args, calls=calls, failed=failed, number=number, **kwargs):
            reads = call == "open" and not args[1] & (os.O_CREAT | os.O_RDWR)
            if reads or next(calls) != number:
                return original(*args, **kwargs)
            failed.append(args)
            if call == "write":
                original(args[0], args[1][:7])  # what fitted onto the disk
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            said = refusal(step, ledger)
        if not failed:
            break
        if said is not None:
            refusals += 1
            assert said.endswith("ledger.jsonl: cannot be written (No space left on device); nothing was changed")
            assert "\n" not in said
            assert contents(tmp_path) == before
            continue
        assert (step, call) in (("request", "fsync"), ("start", "fsync"))  # of a directory: not all systems can
        break
    assert refusals > 0 or (call == "replace" and step != "request")
    assert names(ledger.history().requests.values()) == ["old", *(["new"] if step == "request" else [])]


def test_a_file_that_may_grow_no_further_is_left_as_it_was(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "z", name="old")
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "ledger.jsonl").stat().st_size
    try:
        for more in (0, 1, 100):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + more, limits[1]))
            with pytest.raises(UserError, match=r"cannot be written \(File too large\); nothing was changed"):
                ask(ledger, "a", name="new")
            assert contents(tmp_path) == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ask(ledger, "a", name="new")
    assert names(ledger.pending()) == ["old", "new"]


def test_a_ledger_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(UserError, match="nothing was changed"):
            make(tmp_path)
    assert not contents(tmp_path)
    assert make(tmp_path).pending() == ()


def test_a_read_only_directory_can_be_read_and_says_so_when_written(tmp_path, monkeypatch):
    ledger = make(tmp_path)
    ask(ledger, "a", name="old")
    before, original = contents(tmp_path), os.open

    def read_only(path, flags, *args, **kwargs):  # as the system answers on a read-only mount, to root as well
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    assert names(Ledger(tmp_path).pending()) == ["old"]
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\); nothing was changed"):
        ask(ledger, "b")
    assert contents(tmp_path) == before


# ---- many at once -------------------------------------------------------------------------------


def _append(directory, who, ready):
    ready.wait()
    ledger = Ledger(directory)
    for number in range(25):
        ask(ledger, f"{who}-{number}", name=f"{who}.{number}")
        ask(ledger, "shared", name=f"both.{number}")


def test_two_processes_may_append_at_once(tmp_path):
    make(tmp_path)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    processes = [context.Process(target=_append, args=(tmp_path, who, ready)) for who in ("p", "q")]
    for process in processes:
        process.start()
    ready.set()
    seen = 0
    while any(process.is_alive() for process in processes):  # and a third may read
        now = len(Ledger(tmp_path).pending())
        assert now >= seen
        seen = now
        time.sleep(0.005)
    assert [process.exitcode for process in processes] == [0, 0]
    pending = Ledger(tmp_path).pending()
    assert sorted(names(pending)) == sorted(f"{who}.{n}" for who in ("p", "q", "both") for n in range(25))
    for who in "pq":
        own = [name for name in names(pending) if name.startswith(f"{who}.")]
        assert own == [f"{who}.{number}" for number in range(25)]


def test_a_request_is_acknowledged_while_a_job_holds_the_run(tmp_path):
    run = RunDirectory(tmp_path, {"a": 1})
    make(tmp_path)
    with run.lock():
        ask(Ledger(tmp_path), "a", name="now")
    assert names(Ledger(tmp_path).pending()) == ["now"]


def test_acknowledging_and_reading_need_no_tensorflow():
    program = "import sys, tfpdu.unlearning; print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
