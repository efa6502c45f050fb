"""Long fits: several starts, time limits, the progress line, checkpoints that survive a kill, and going on."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import torchmle as tm
from torchmle import progress

RNG = np.random.default_rng(3)
MROZ = tm.datasets.load("mroz")
LOGIT = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ)
Y = np.concatenate([RNG.normal(-4, 1, 300), RNG.normal(3, 0.6, 150)])


def mixture(p, d):
    shares = torch.log_softmax(torch.stack([p["a"], 0 * p["a"]]), 0)
    return torch.logsumexp(tm.normal_logpdf((d["y"][:, None] - p["m"]) / p["s"]) - p["s"].log() + shares, 1)


def mixed(fn=mixture, means=(-5.0, -5.5), a=0.0):
    start = {"a": a, "m": list(means), "s": [1.0, 8.0]}
    return tm.likelihood(fn, start, {"y": Y}, transforms={"s": "positive"})


# ---- several starts


def waves(p, d):
    """A likelihood with many local maxima, the highest at 0."""
    x = p["x"]
    return (torch.cos(3 * x) - 0.05 * x**2 - 1) * torch.ones_like(d["y"])


def test_several_starts_find_the_highest_maximum():
    model = tm.likelihood(waves, {"x": 6.0}, {"y": Y})
    one = model.fit()
    assert one.converged
    assert abs(one.params["x"]) > 3  # a lower maximum
    many = model.fit(options={"starts": 20, "spread": 4.0})
    assert many.converged
    assert many.params["x"] == pytest.approx(0, abs=1e-8)
    (note,) = [n for n in many.fit.notes if "starts" in n]
    assert note.startswith("20 starts: ")
    assert "lower maxima" in note
    assert "20 starts" in many.summary().as_text()


def test_several_starts_are_reproducible_and_leave_the_seed_alone():
    model = mixed()
    before = torch.get_rng_state()
    fits = [model.fit(options={"starts": 5}, seed=seed) for seed in (4, 4, 5)]
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(fits[0].params, fits[1].params)
    assert fits[0].fit.notes == fits[1].fit.notes
    assert fits[0].llf == pytest.approx(fits[2].llf, rel=1e-9)


def test_starts_stay_inside_bounds():
    results = LOGIT.fit(bounds={"educ": (0.3, None)}, options={"starts": 4, "spread": 3.0})
    reference = LOGIT.fit(fixed={"educ": 0.3})
    np.testing.assert_allclose(results.params, reference.params, rtol=1e-8)
    assert "4 starts: 4 ended" in " ".join(results.fit.notes)


@pytest.mark.parametrize(("options", "words"), [
    ({"starts": 0}, "positive whole number"), ({"starts": 1.5}, "positive whole number"),
    ({"starts": True}, "positive whole number"), ({"spread": 0}, "positive"), ({"spread": "a"}, "must be a number"),
    ({"time_limit": -1}, "positive"), ({"time_limit": math.nan}, "positive"),
    ({"start": 3}, "Unknown option"), ({"spread": None}, "must be a number"),
], ids=str)  # fmt: skip
def test_bad_options(options, words):
    with pytest.raises(tm.OptionError, match=words):
        LOGIT.fit(options=options)


def test_an_option_given_as_an_argument():
    with pytest.raises(tm.OptionError, match="is given in options"):
        LOGIT.fit(starts=3)


# ---- time limits


@pytest.mark.parametrize("method", ["newton", "lbfgs", "adam"])
def test_a_time_limit_returns_the_best_point(method):
    def slow(p, d):
        time.sleep(0.01)
        return mixture(p, d)

    with pytest.warns(tm.ConvergenceWarning, match="time_limit"):
        results = mixed(slow).fit(method=method, options={"time_limit": 0.02})
    assert results.status.startswith("time_limit")
    assert results.bse.isna().all()
    assert results.llf >= results.history["llf"].iloc[0]
    assert "Not identified" not in results.status  # half-way up says nothing of that
    longer = mixed().fit(resume=results)
    assert longer.converged


def test_a_time_limit_cuts_several_starts():
    results = mixed().fit(options={"starts": 100_000, "time_limit": 0.5})
    (note,) = [n for n in results.fit.notes if "starts" in n]
    assert "of 100000 starts (time_limit)" in note


# ---- interrupts among several starts


@pytest.mark.filterwarnings("ignore::torchmle.errors.ConvergenceWarning")
def test_an_interrupt_among_several_starts_keeps_the_best():
    calls, at = 0, 0

    def counted(p, d):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return mixture(p, d)

    model = mixed(counted)
    model.fit()
    single, calls = calls, 0
    whole = model.fit(options={"starts": 3})
    total = calls
    for at in range(single + 1, total + 1, 5):  # noqa: B007
        calls = 0
        results = model.fit(options={"starts": 3})
        assert results.status.startswith("interrupted")
        assert results.bse.isna().all()
        assert any("starts" in n for n in results.fit.notes)
        assert results.llf <= whole.llf + 1e-6


# ---- the progress line


class Terminal:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def slowly(row):
    time.sleep(0.02)


@pytest.mark.parametrize(("asked", "patience", "shown"), [
    (True, 1e9, True), (None, 0.0, True), (None, 1e9, False), (False, 0.0, False),
])  # fmt: skip
def test_progress_line(monkeypatch, capsys, asked, patience, shown):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    LOGIT.fit(progress=asked, callback=slowly)
    assert ("Logit (newton): iteration" in terminal.text) is shown
    assert terminal.text.endswith("\n") is shown
    assert capsys.readouterr().out == ""


def test_no_progress_line_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    LOGIT.fit(callback=slowly)
    assert capsys.readouterr() == ("", "")
    with pytest.raises(tm.OptionError, match="progress"):
        LOGIT.fit(progress="yes")


def test_the_line_is_closed_after_an_error(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def fails(row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        LOGIT.fit(progress=True, callback=fails)
    assert terminal.text.endswith("\n")


# ---- checkpoints

SCRIPT = """
    import sys, time, numpy as np, torch, torchmle as tm
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(400), rng.normal(size=(400, 3))])
    y = X @ [1.0, 2.0, -1.0, 0.5] + rng.standard_t(4, size=400)

    def density(p, d):
        time.sleep(float(sys.argv[2]))
        z = (d["y"] - d["X"] @ p["b"]) / p["s"]
        return -2.5 * torch.log1p(z**2 / 4) - torch.log(p["s"])

    model = tm.likelihood(density, {"b": "X", "s": 30.0}, {"y": y, "X": X}, transforms={"s": "positive"}, lifting=False)
    results = model.fit(method="adam", maxiter=int(sys.argv[3]), checkpoint=sys.argv[1], resume=sys.argv[1])
    print("done")
"""


def test_a_checkpoint_survives_a_kill(tmp_path):
    script, path = tmp_path / "script.py", tmp_path / "fit.ckpt"
    script.write_text(textwrap.dedent(SCRIPT))
    arguments = [sys.executable, str(script), str(path), "0.005", "100000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}) as running:
        deadline = time.monotonic() + 120
        while not path.exists() and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.1)
        first = path.stat().st_mtime_ns
        while path.stat().st_mtime_ns == first and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.1)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL
    names: dict = {"__name__": "script"}
    source = textwrap.dedent(SCRIPT).split("results =")[0]
    exec(compile(source.replace("time.sleep(float(sys.argv[2]))", "pass"), "script", "exec"), names)
    model = names["model"]
    fresh = model.fit()
    again = model.fit(resume=path)
    np.testing.assert_allclose(again.params, fresh.params, rtol=1e-8)
    begun = dict(again.record.start)
    assert model.loglike(begun) > model.loglike(model.start_params)


def test_first_run_of_a_script_that_is_restarted(tmp_path):
    path = tmp_path / "fit.ckpt"
    first = LOGIT.fit(checkpoint=path, resume=path)  # there is nothing to go on from yet
    assert path.is_file()
    second = LOGIT.fit(checkpoint=str(path), resume=str(path))
    np.testing.assert_allclose(second.params, first.params, rtol=1e-9)
    assert second.fit.iterations <= 1
    with pytest.raises(tm.OptionError, match="no such file"):
        LOGIT.fit(resume=tmp_path / "other")


@pytest.mark.parametrize("damage", ["flip", "cut", "append", "empty", "text"])
def test_a_damaged_checkpoint_is_an_error(tmp_path, damage):
    path = tmp_path / "fit.ckpt"
    LOGIT.fit(checkpoint=path)
    whole = path.read_bytes()
    damaged = {
        "flip": [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 7)],
        "cut": [whole[:-1], whole[: len(whole) // 2], whole[:25]],
        "append": [whole + b" "],
        "empty": [b""],
        "text": [b"params: 1, 2, 3", b"\x80\x04cposix\nsystem\n."],
    }[damage]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(tm.DataError, match=r"damaged|no checkpoint|Start the fit anew"):
            LOGIT.fit(resume=path)


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(tm.OptionError, match="is a folder"):
        LOGIT.fit(checkpoint=tmp_path)
    with pytest.raises(tm.OptionError, match="does not exist"):
        LOGIT.fit(checkpoint=tmp_path / "nowhere" / "fit.ckpt")
    for source in (3, LOGIT, [1.0]):
        with pytest.raises(tm.OptionError, match="must be results of a fit or the name of a file"):
            LOGIT.fit(resume=source)
    with pytest.raises(tm.OptionError, match="must be the name of a file"):
        LOGIT.fit(checkpoint=3)


def test_a_disk_that_cannot_be_written_does_not_end_the_fit(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torchmle.models.checkpoint.write_atomically", full)
    with pytest.warns(tm.TorchmleWarning, match="No space left on device") as seen:
        results = LOGIT.fit(checkpoint=tmp_path / "fit.ckpt")
    assert results.converged
    assert len(seen) == 1


def test_a_write_that_is_cut_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "fit.ckpt"
    LOGIT.fit(checkpoint=path)
    before = path.read_bytes()

    def crash(*_):
        raise SystemExit

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(SystemExit):
        LOGIT.fit(checkpoint=path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_names_must_be_those_of_the_model(tmp_path):
    path = tmp_path / "fit.ckpt"
    other = tm.Logit.from_formula("inlf ~ educ + huseduc", MROZ).fit(checkpoint=path)
    for source in (other, path):
        with pytest.raises(tm.OptionError, match="in resume"):
            LOGIT.fit(resume=source)
    with pytest.raises(tm.OptionError, match="both say where to begin"):
        LOGIT.fit([0] * 4, resume=other)


@pytest.mark.filterwarnings("ignore::torchmle.errors.ConvergenceWarning")
def test_callback_interrupt_and_checkpoint_together(tmp_path):
    path, seen = tmp_path / "fit.ckpt", []

    def callback(row):
        seen.append(row.llf)
        if row.iteration == 2:
            raise KeyboardInterrupt

    stopped = LOGIT.fit(callback=callback, checkpoint=path)
    assert stopped.status.startswith("interrupted")
    again = LOGIT.fit(resume=path)
    assert dict(again.record.start) == pytest.approx(stopped.params.to_dict(), rel=1e-12)
    np.testing.assert_allclose(again.params, LOGIT.fit().params, rtol=1e-9)


def test_a_checkpoint_of_several_starts_holds_the_maximum(tmp_path):
    """A later run that climbs towards a spike of the likelihood must not take its place."""
    path = tmp_path / "fit.ckpt"
    results = mixed().fit(options={"starts": 6}, checkpoint=path)
    again = mixed().fit(resume=path)
    assert again.llf == pytest.approx(results.llf, rel=1e-12)
    bounded = LOGIT.fit(bounds={"educ": (0.3, None)}, checkpoint=path)
    again = LOGIT.fit(bounds={"educ": (0.3, None)}, resume=path)
    np.testing.assert_allclose(again.params, bounded.params, rtol=1e-9)


def test_going_on_from_results_of_other_weights():
    """A resumed fit is a start, no more: the answer is that of the new data."""
    heavy = tm.Logit.from_formula("inlf ~ educ + exper + age", MROZ, freq_weights=MROZ.educ.astype(int))
    np.testing.assert_allclose(heavy.fit(resume=LOGIT.fit()).params, heavy.fit().params, rtol=1e-8)


def test_no_file_is_left_beside_the_checkpoint(tmp_path):
    LOGIT.fit(checkpoint=tmp_path / "fit.ckpt", method="adam", maxiter=5000)
    assert [p.name for p in Path(tmp_path).iterdir()] == ["fit.ckpt"]
