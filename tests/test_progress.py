"""The progress line: what it says, that it fits the terminal, and that it is silent where nobody looks."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import torchmle as tm
from torchmle import progress
from torchmle.progress import ProgressLine, duration

MROZ = tm.datasets.load("mroz")


class Clock:
    """Be the time, which moves when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "perf_counter", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    """Put standard error on a real terminal, of 60 columns, and return what reads it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    stream = os.fdopen(slave, "w")
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))  # pytest sets that of sys anew for each phase
    monkeypatch.setattr(progress, "PAUSE", 0.0)

    parts, arrived = [], threading.Event()

    def drain():  # a terminal that nobody reads holds its writer up
        while True:
            try:
                got = os.read(master, 65536)
            except OSError:  # the other end is closed
                return
            if not got:
                return
            parts.append(got)
            if got.endswith(b"\0"):
                arrived.set()

    def read():
        arrived.clear()
        stream.write("\0")
        stream.flush()
        assert arrived.wait(10)
        text = b"".join(parts).decode().replace("\0", "")
        parts.clear()
        return text

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    yield read
    stream.close()
    reader.join(10)
    os.close(master)


def screen(text, columns=60):
    """Return the lines that a terminal shows after some text: carriage returns go back, long lines go on below."""
    rows, at = [""], 0
    for letter in text.replace("\r\n", "\n"):
        if letter == "\n":
            rows.append("")
            at = 0
        elif letter == "\r":
            at = 0
        else:
            if at == columns:
                rows.append("")
                at = 0
            rows[-1] = rows[-1][:at].ljust(at) + letter + rows[-1][at + 1 :]
            at += 1
    return [row.rstrip() for row in rows]


def test_a_count_has_rate_and_remaining_time(clock, terminal):
    line = ProgressLine(True)
    clock.now += 2
    line.count("bootstrap", 100, 25)
    assert screen(terminal()) == ["bootstrap: [#####               ] 25 of 100, 12/s, 6 s left"]
    clock.now += 8
    line.count("bootstrap", 100, 75)
    line.close()
    assert screen(terminal()) == ["bootstrap: [####################] 100 of 100, 10/s, in 10 s", ""]


def test_each_name_has_a_rate_of_its_own(clock, terminal):
    line = ProgressLine(True)
    clock.now += 1
    line.count("fits", 1000, 1000)
    clock.now += 6
    line.count("alone", 4, 2)
    assert screen(terminal())[-1] == "alone: [##########          ] 2 of 4, 3.0 s each, 6 s left"


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3600, "60 min"), (5940, "99 min"), (7500, "2 h 5 min"),
])  # fmt: skip
def test_times_are_short(seconds, text):
    assert duration(seconds) == text


def test_a_long_line_is_cut_so_that_it_is_written_over(terminal):
    line = ProgressLine(True)
    line.show("x" * 200)
    line.show("y" * 70)
    line.show("short")
    line.close()
    shown = screen(terminal())
    assert shown == ["short", ""]


def test_a_bar_goes_before_numbers_are_cut(clock, terminal):
    line = ProgressLine(True)
    clock.now += 1000
    line.count("parametric bootstrap, one by one", 10_000, 10)
    assert screen(terminal()) == ["parametric bootstrap, one by one: 10 of 10000, 100.0 s e..."]


def test_the_last_state_is_written_though_it_came_too_soon(clock, terminal, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0.1)
    line = ProgressLine(True)
    for _ in range(10):
        clock.now += 0.01
        line.count("fits", 10)
    assert "1 of 10," in screen(terminal())[-1]
    line.close()
    assert "10 of 10," in screen(terminal())[0]


@pytest.mark.parametrize(("wanted", "after", "shown"), [
    (None, 0.5, False), (None, 1.5, True), (True, 0.0, True), (False, 9.0, False),
])  # fmt: skip
def test_when_a_line_appears_on_a_terminal(clock, terminal, wanted, after, shown):
    with ProgressLine(wanted) as line:
        clock.now += after
        line.count("fits", 10)
    assert bool(terminal()) is shown


@pytest.mark.parametrize(("wanted", "lines"), [(None, []), (False, []), (True, ["0", "10", "20", "24"])])
def test_a_file_gets_whole_lines_and_only_if_asked(clock, monkeypatch, wanted, lines):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    with ProgressLine(wanted) as line:
        for step in range(25):
            line.show(str(step))
            clock.now += 1
    assert stream.getvalue().splitlines() == lines
    assert "\r" not in stream.getvalue()


def test_a_notebook_is_written_over(clock, monkeypatch):
    class OutStream(io.StringIO):
        pass

    OutStream.__module__ = "ipykernel.iostream"
    stream = OutStream()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    line = ProgressLine()
    for text in ("a long state", "end"):
        clock.now += 2
        line.show(text)
    line.close()
    assert stream.getvalue() == "\ra long state\rend         \n"


@pytest.mark.parametrize("broken", ["none", "closed", "fails", "ascii"])
def test_a_stream_that_fails_stops_the_line_and_not_the_work(monkeypatch, broken):
    class Fails(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    closed = io.StringIO()
    closed.close()
    streams = {"none": None, "closed": closed, "fails": Fails()}
    streams["ascii"] = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=streams[broken]))
    with ProgressLine(True) as line:
        line.show("größer")
        line.show("und mehr")


def test_a_line_within_a_line_is_silent(terminal):
    with ProgressLine(True) as outer:
        with ProgressLine(True) as inner:
            inner.show("inner")
        ProgressLine(True).show("another")
        outer.show("outer")
    late = ProgressLine(True)
    late.show("late")
    late.close()
    assert screen(terminal()) == ["outer", "late", ""]


def test_threads_count_together(terminal):
    with ProgressLine(True) as line:
        threads = [threading.Thread(target=lambda: [line.count("fits", 400) for _ in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "400 of 400" in screen(terminal())[0]


@pytest.mark.parametrize("wanted", ["yes", 1, 0])
def test_what_progress_may_be_is_said(wanted):
    res = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    for call in (
        lambda: res.bootstrap(reps=20, progress=wanted),
        lambda: res.jackknife(progress=wanted),
        lambda: res.permutation_test("educ", reps=20, progress=wanted),
        lambda: tm.fit_many(tm.Logit, "inlf ~ educ", MROZ, by="city", progress=wanted),
        lambda: tm.testing.check_simulation(res, reps=20, progress=wanted),
        lambda: res.model.fit(progress=wanted),
    ):
        with pytest.raises(tm.OptionError, match="must be True, False or None"):
            call()


class Shifted(tm.GenericLikelihoodModel):
    """Be a likelihood whose fits are done one by one."""

    def loglikeobs(self, params):
        return tm.log_sigmoid((2 * self.endog - 1) * (self.exog @ params))

    def simulate_endog(self, params, generator):
        share = torch.sigmoid(self.exog @ params)
        return (torch.rand(len(share), generator=generator, dtype=torch.float64) < share).double()


def tasks():
    """Return what works long, with what its line says at the end."""
    res = tm.Logit.from_formula("inlf ~ educ", MROZ).fit()
    own = Shifted.from_formula("inlf ~ educ", MROZ[::4])
    one = own.fit()
    few = MROZ.assign(g=np.arange(len(MROZ)) % 12)

    def simulate(params, rng):
        share = 1 / (1 + np.exp(-own.exog.numpy() @ params))
        return (rng.random(len(share)) < share).astype(float)

    return {
        "bootstrap": (lambda p: res.bootstrap(reps=40, progress=p), ["bootstrap", "40 of 40"]),
        "opaque": (lambda p: one.bootstrap(reps=12, progress=p), ["bootstrap", "12 of 12"]),
        "parametric": (lambda p: res.bootstrap(reps=20, kind="parametric", progress=p), ["parametric", "20 of 20"]),
        "jackknife": (lambda p: res.jackknife(progress=p), ["jackknife", "753 of 753"]),
        "permutation": (lambda p: res.permutation_test("educ", reps=19, progress=p), ["permutation test", "19 of 19"]),
        "fit_many": (lambda p: tm.fit_many(tm.Logit, "inlf ~ educ", few, by="g", progress=p), ["Logit", "12 of 12"]),
        "alone": (
            lambda p: tm.fit_many(Shifted, "inlf ~ educ", few, by="g", progress=p),
            ["Shifted, one by one", "12 of 12"],
        ),
        "simulation": (
            lambda p: tm.testing.check_simulation(own, one.params, reps=20, simulate=simulate, progress=p),
            ["Shifted, one by one", "scores at the true parameters", "20 of 20"],
        ),
        "fit": (lambda p: res.model.fit(progress=p, callback=lambda row: time.sleep(0.01)), ["Logit (newton)"]),
    }


@pytest.mark.parametrize("name", ["bootstrap", "opaque", "parametric", "jackknife", "permutation", "fit_many", "alone",
                                  "simulation", "fit"])  # fmt: skip
def test_every_long_work_has_its_line(terminal, name, monkeypatch):
    work, says = tasks()[name]
    work(False)
    assert terminal() == ""
    work(True)
    shown = screen(terminal())
    assert all(any(text in row for row in shown) for text in says), shown
    assert shown[-1] == ""  # the cursor is on a line of its own
    assert not any(re.search(r"newton|iteration", row) for row in shown if name != "fit")  # no line of a fit within
    stream = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    work(None)
    assert stream.getvalue() == ""


def test_several_starts_are_counted(terminal):
    model = tm.Logit.from_formula("inlf ~ educ", MROZ)
    model.fit(progress=True, options={"starts": 3}, callback=lambda row: time.sleep(0.01))
    shown = terminal()
    assert all(f"start {k} of 3, iteration 1," in shown for k in (1, 2, 3))


def test_the_draws_of_a_mixed_logit_are_counted(terminal):
    trips = tm.datasets.load("trips")
    kept = trips[trips.person.isin(pd.unique(trips.person)[:40])]
    model = tm.MixedLogit.from_formula(
        *("chosen ~ time + cost", kept), alternatives="mode", situations="trip", persons="person",
        random={"time": "normal"}, draws=20,
    )  # fmt: skip
    model.fit().draws_report([20], ["halton"], [0, 1], progress=True)
    shown = screen(terminal())
    assert "fits with other draws" in shown[-2]
    assert "2 of 2" in shown[-2]
