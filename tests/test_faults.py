"""Interrupt fits, run them under odd global states, in threads and after a fork; look for what they leave."""

import dataclasses
import logging
import os
import random
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import torchmle as tm
from torchmle import ConvergenceWarning, OptionError

RNG = np.random.default_rng(1)


def sample(n: int) -> tuple[np.ndarray, np.ndarray]:
    """A logit's response and regressors."""
    x = RNG.normal(size=(n, 2))
    return (RNG.logistic(size=n) < 0.3 + x @ [1, -0.5]) * 1.0, np.column_stack([np.ones(n), x])


SMALL, LARGE = sample(400), sample(40_000)  # the large one starts on a sample of its rows


def density(y: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
    return tm.log_sigmoid((2 * y - 1) * eta)


class Opaque(tm.GenericLikelihoodModel):
    """A logit that counts its evaluations and can fail in one of them."""

    calls, fails_at, fault = 0, 0, KeyboardInterrupt

    def loglikeobs(self, params: torch.Tensor) -> torch.Tensor:
        fail(type(self))
        return density(self.endog, self.exog @ params)


class Declared(tm.LinearPredictorModel):
    """The same, declared."""

    predictors = {"eta": "1"}
    calls, fails_at, fault = 0, 0, KeyboardInterrupt

    def logdensity(self, y: torch.Tensor, *etas: torch.Tensor) -> torch.Tensor:
        fail(type(self))
        return density(y, etas[0])


def fail(kind: Any) -> None:
    kind.calls += 1
    if kind.calls == kind.fails_at:
        raise kind.fault("planned")


def faulty(kind: type, data: tuple[np.ndarray, np.ndarray], fails_at: int, fault: type = KeyboardInterrupt) -> Any:
    """A model of its own class, that fails in one evaluation of its fit."""
    own = type("Own", (kind,), {"calls": 0, "fails_at": 0, "fault": fault})
    model = own(*data)
    own.calls, own.fails_at = 0, fails_at
    return model


def evaluations(kind: type, data: tuple[np.ndarray, np.ndarray], **options: Any) -> int:
    """How many evaluations a fit takes when nothing happens."""
    model = faulty(kind, data, 0)
    model.fit(**options)
    return type(model).calls


# ---- interrupts


def outcomes(kind: type, data: tuple[np.ndarray, np.ndarray], **options: Any) -> list[Any]:
    """What an interrupt in each single evaluation of a fit leads to: results, or None if it got through."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for at in range(1, evaluations(kind, data, **options) + 1):
            try:
                found.append(faulty(kind, data, at).fit(**options))
            except KeyboardInterrupt:
                found.append(None)
    return found


@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs", "sgd", "adam"])
@pytest.mark.parametrize("kind", [Opaque, Declared])
def test_interrupt_returns_the_best_point(kind: type, method: str) -> None:
    """Wherever it comes, there is no success; once there is a point, it comes back, better than the start."""
    found = outcomes(kind, SMALL, method=method, maxiter=6)
    returned = [r for r in found if r is not None]
    assert len(returned) >= 3
    for results in returned:
        assert not results.converged
        assert results.bse.isna().all()
        assert "interrupted" in results.status
        assert results.llf == pytest.approx(tm.Logit(*SMALL).loglike(results.params.to_numpy()), rel=1e-12)
        assert results.llf >= results.history["llf"].iloc[0]
        assert "NOT A MAXIMUM" in str(results.summary())


@pytest.mark.parametrize("kind", [Opaque, Declared])
def test_interrupt_while_starting_on_a_sample(kind: type) -> None:
    """An interrupt is never swallowed: the fit ends, there and then."""
    assert not [r for r in outcomes(kind, LARGE) if r is not None and r.converged]


@pytest.mark.parametrize("kind", [Opaque, Declared])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC1"])
def test_interrupt_after_the_last_step_keeps_the_point(kind: type, cov_type: str) -> None:
    """What an interrupt in the covariance costs is the covariance, not the estimates."""
    found = outcomes(kind, SMALL, cov_type=cov_type)
    first = next(i for i, r in enumerate(found) if r is not None)
    assert all(r is not None for r in found[first:])


@pytest.mark.filterwarnings("ignore::torchmle.errors.ConvergenceWarning")
@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs", "sgd", "adam"])
def test_interrupt_in_a_callback(method: str) -> None:
    seen = []

    def callback(row: Any) -> None:
        seen.append(row.llf)
        if len(seen) == 2:
            raise KeyboardInterrupt

    results = tm.Logit(*SMALL).fit(method=method, callback=callback)
    assert len(seen) == 2
    assert results.llf >= max(seen)
    assert "interrupted" in results.status
    assert results.bse.isna().all()


def test_interrupt_by_a_signal() -> None:
    """A real Ctrl-C, sent while the fit runs."""

    def callback(row: Any) -> None:
        if row.iteration == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    try:
        with pytest.warns(ConvergenceWarning, match="interrupted"):
            results = tm.Logit(*SMALL).fit(method="adam", callback=callback)
    finally:
        signal.signal(signal.SIGINT, before)
    assert results.fit.iterations < 10


# ---- callbacks and limits


@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs", "sgd", "adam"])
def test_callback_stops(method: str) -> None:
    with pytest.warns(ConvergenceWarning, match="callback asked to stop"):
        results = tm.Logit(*SMALL).fit(method=method, callback=lambda row: row.iteration >= 2)
    assert results.fit.iterations == 2
    assert results.bse.isna().all()


@pytest.mark.parametrize("fault", [ValueError, ZeroDivisionError, StopIteration, MemoryError])
def test_exception_in_a_callback_propagates(fault: type) -> None:
    def callback(row: Any) -> None:
        raise fault("planned")

    with pytest.raises(fault, match="planned"):
        tm.Logit(*SMALL).fit(callback=callback)


@pytest.mark.parametrize("fault", [ValueError, RuntimeError, MemoryError])
@pytest.mark.parametrize("kind", [Opaque, Declared])
def test_exception_in_a_step_is_never_swallowed(kind: type, fault: type) -> None:
    """In the last third of the evaluations the checks are over, and the steps are under way."""
    total = evaluations(kind, SMALL, method="bfgs")
    with pytest.raises((fault, tm.LikelihoodError), match="planned"):
        faulty(kind, SMALL, total * 2 // 3, fault).fit(method="bfgs")


@pytest.mark.parametrize("answer", [np.zeros(3), pd.Series([1.0, 2.0])])
def test_callback_that_answers_an_array(answer: Any) -> None:
    with pytest.raises(OptionError, match="callback"):
        tm.Logit(*SMALL).fit(callback=lambda row: answer)


@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs", "adam"])
@pytest.mark.parametrize("limit", [{"maxfun": 1}, {"maxfun": 3}, {"maxiter": 0}, {"maxiter": 2}])
def test_limits(method: str, limit: dict) -> None:
    with pytest.warns(ConvergenceWarning, match="limit was reached"):
        results = tm.Logit(*SMALL).fit(method=method, **limit)
    assert results.fit.iterations <= next(iter(limit.values()))
    assert results.bse.isna().all()


def test_fit_goes_on_from_where_it_stopped() -> None:
    model = tm.Logit(*SMALL)
    with pytest.warns(ConvergenceWarning):
        stopped = model.fit(maxiter=2)
    np.testing.assert_allclose(model.fit(start_params=stopped.params).params, model.fit().params, rtol=1e-10)


# ---- no side effects


def make_frame() -> pd.DataFrame:
    y, X = SMALL
    frame = pd.DataFrame({"y": y, "a": X[:, 1], "b": X[:, 2], "s": list("uv") * 200, "g": np.arange(400) % 7})
    return frame.assign(c=np.round(np.exp(frame["a"])), k=pd.array(range(400), dtype="Int64"))


def linear() -> Any:
    frame = make_frame()
    results = tm.OLS.from_formula("a ~ b + C(s)", frame).fit(cov_type="HC1")
    return [
        results,
        results.summary().as_html(),
        results.compare_ols(),
        results.omnibus,
        results.predict(frame[:3]),
    ]


def likelihood_of_a_linear_model() -> Any:
    results = tm.OLS.from_formula("a ~ b + s", make_frame(), log_sigma="1 + b").fit()
    return [results, results.summary(), tm.OLS.from_formula("a ~ b", make_frame()).fit(method="newton")]


def binary() -> Any:
    frame = make_frame()
    results = tm.Logit.from_formula("y ~ a + b + s", frame, groups="g").fit(cov_type="cluster")
    reports = [
        results.summary(),
        results.llnull,
        results.with_cov("opg").conf_int(),
        results.hessian,
        results.score,
    ]
    return [results, *reports, results.model.score_obs(results.params), results.predict(frame[:3])]


def count() -> Any:
    results = tm.NegativeBinomial.from_formula("c ~ b", make_frame()).fit()
    return [results, results.summary(), results.resid, results.model.hessian(results.params)]


def opaque() -> Any:
    results = Opaque(*SMALL).fit(cov_type="HC1")
    return [results, results.summary(), results.predict(which="linear"), results.fit.trace]


def in_chunks() -> Any:
    results = Opaque(*LARGE).fit(cov_type="HC0")
    poisson = tm.Poisson(*LARGE).fit(cov_type="cluster", cov_kwds={"groups": np.arange(40_000) % 99})
    return [poisson, results, results.with_cov("opg"), tm.Logit(*LARGE).fit().fittedvalues, poisson.llnull]


def other_methods() -> Any:
    model = tm.Logit(*SMALL)
    return [
        model.fit(method="adam"),
        model.fit(method="bfgs"),
        model.fit(method="lbfgs"),
        model.fit(method="sgd"),
    ]


WORK = [linear, likelihood_of_a_linear_model, binary, count, opaque, in_chunks, other_methods]


def numbers(work: Callable[[], Any]) -> list[Any]:
    """Do some work and return its numbers."""
    return [value for r in work() if isinstance(r, tm.Results) for value in (*r.params, *r.bse, r.llf)]


EXPECTED = {work: numbers(work) for work in WORK}


def global_state() -> dict[str, Any]:
    return {
        "torch dtype": torch.get_default_dtype(),
        "torch device": str(torch.get_default_device()),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch seed": torch.get_rng_state().numpy().tobytes(),
        "numpy seed": repr(np.random.get_state()),
        "python seed": random.getstate(),
        "warnings": list(warnings.filters),
        "numpy errors": np.geterr(),
        "numpy printing": np.get_printoptions(),
        "torch printing": repr(torch._tensor_str.PRINT_OPTS),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "signals": (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)),
        "logging": (list(logging.root.handlers), logging.root.level),
    }


@pytest.mark.parametrize("work", WORK)
def test_global_state_is_left_alone(work: Callable[[], Any]) -> None:
    before = global_state()
    work()
    after = global_state()
    assert [name for name in before if before[name] != after[name]] == []


@contextmanager
def setting(change: Callable[[], Any], back: Callable[[], Any]) -> Iterator[None]:
    change()
    try:
        yield
    finally:
        back()


def default_dtype(dtype: torch.dtype) -> AbstractContextManager[None]:
    before = torch.get_default_dtype()
    return setting(lambda: torch.set_default_dtype(dtype), lambda: torch.set_default_dtype(before))


def default_device(device: str) -> AbstractContextManager[None]:
    return setting(lambda: torch.set_default_device(device), lambda: torch.set_default_device(None))


def threads(count: int) -> AbstractContextManager[None]:
    before = torch.get_num_threads()
    return setting(lambda: torch.set_num_threads(count), lambda: torch.set_num_threads(before))


def deterministic() -> AbstractContextManager[None]:
    switch = torch.use_deterministic_algorithms
    return setting(lambda: switch(True), lambda: switch(False))


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float16": lambda: default_dtype(torch.float16),
    "float64": lambda: default_dtype(torch.float64),
    "meta device": lambda: default_device("meta"),
    "meta context": lambda: torch.device("meta"),
    "one thread": lambda: threads(1),
    "four threads": lambda: threads(4),
    "deterministic": deterministic,
    "numpy raises": lambda: np.errstate(all="raise"),
    "warnings are errors": warnings.catch_warnings,
}


def mode_cases() -> list[Any]:
    found = []
    for mode in MODES:
        for work in WORK:
            found.append(pytest.param(mode, work))
    return found


@pytest.mark.parametrize(("mode", "work"), mode_cases())
def test_right_under_any_mode(mode: str, work: Callable[[], Any]) -> None:
    """The same numbers: to rounding, and with other threads to the rounding of sums in another order."""
    with MODES[mode]():
        if mode == "warnings are errors":
            warnings.simplefilter("error")
        found = numbers(work)
    np.testing.assert_allclose(found, EXPECTED[work], rtol=1e-9 if "thread" in mode else 1e-12)


@pytest.mark.parametrize(
    "mode",
    list(MODES),
)
def test_no_mode_costs_the_engine(mode: str) -> None:
    """The answer is not only right, it is found in the same way."""
    expected = Opaque(*SMALL).fit().engine
    with MODES[mode]():
        assert Opaque(*SMALL).fit().engine == expected


def test_models_of_one_mode_are_used_in_another() -> None:
    with torch.inference_mode():
        model = Opaque(*SMALL)
        inside = tm.Logit(*SMALL).fit()
    assert model.fit(cov_type="HC1").bse.to_numpy() == pytest.approx(inside.with_cov("HC1").bse.to_numpy(), rel=1e-9)


TENSORS = {
    "inference": lambda a: inference(torch.tensor(a)),
    "requires grad": lambda a: torch.tensor(a, requires_grad=True),
    "of a graph": lambda a: torch.tensor(a, requires_grad=True) * 1.0,
    "read-only": lambda a: read_only(a),
    "not contiguous": lambda a: torch.tensor(np.repeat(a, 2, axis=0))[::2],
}


def inference(tensor: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return tensor.clone()


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.parametrize("model", [Opaque, Declared, tm.OLS])
def test_tensors_of_every_kind(model: type, kind: str) -> None:
    y, X = (TENSORS[kind](a) for a in SMALL)
    found, expected = model(y, X).fit(), model(*SMALL).fit()
    np.testing.assert_array_equal(found.params, expected.params)
    np.testing.assert_array_equal(found.bse, expected.bse)


def test_user_data_are_left_alone() -> None:
    """Frames, arrays and dicts are the same bytes afterwards, and need not be writeable."""
    frame = make_frame().assign(o=lambda f: f["b"].astype(object), t=pd.Categorical(list("uv") * 200, list("wvu")))
    frame.loc[3, "a"] = np.nan
    before, dtypes, levels = frame.copy(deep=True), list(frame.dtypes), list(frame["t"].cat.categories)
    weights, y, X = read_only(np.ones(400, dtype=int)), read_only(SMALL[0]), read_only(SMALL[1])
    kwds, options, start = {"groups": "s", "use_correction": True}, {"lr": 0.1}, {"Intercept": 0.0, "a": 0.0}
    copies = [dict(d) for d in (kwds, options, start)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        results = tm.Logit.from_formula("y ~ a + k + t + o", frame, freq_weights=weights, row_data=["g"]).fit()
        results.predict(frame)
        results.with_cov("cluster", kwds)
        tm.Logit.from_formula("y ~ a", frame).fit(start, "sgd", 3, options=options)
    Opaque(y, X, freq_weights=weights, row_data={"q": X}).fit()
    tm.OLS(y, X, var_weights=weights, groups=read_only(np.arange(400) % 9)).fit(cov_type="cluster")
    pd.testing.assert_frame_equal(frame, before)
    assert list(frame.dtypes) == dtypes
    assert list(frame["t"].cat.categories) == levels
    assert [kwds, options, start] == copies
    assert y.tobytes() + X.tobytes() == SMALL[0].tobytes() + SMALL[1].tobytes()


# ---- threads, processes, repetition


def test_threads_at_once() -> None:
    """Four threads, each with all the work, and the numbers of one alone."""
    found: dict[int, Any] = {}

    def run(i: int) -> None:
        found[i] = [numbers(work) for work in WORK[i % 2 :: 2]]

    before = torch.get_num_threads()
    workers = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(4):
        for got, work in zip(found[i], WORK[i % 2 :: 2], strict=True):
            np.testing.assert_array_equal(got, EXPECTED[work])
    assert torch.get_num_threads() == before


def in_a_fork(work: Callable[[], Any], seconds: float = 30.0) -> list[float] | None:
    """Do some work in a forked process, and return its numbers; None if it hangs or dies."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, np.array(numbers(work)).tobytes())
        finally:
            os._exit(0)
    os.close(write)
    try:
        answered = select.select([read], [], [], seconds)[0]
        answer = os.read(read, 1 << 16) if answered else b""
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return list(np.frombuffer(answer)) or None


def logit_by_rows() -> Any:
    return [tm.Logit(*LARGE).fit()]


def least_squares_by_rows() -> Any:
    return [tm.OLS(*LARGE).fit()]


def predictions_by_rows() -> Any:
    results = tm.Poisson(*LARGE).fit()
    return [results, results.predict(), results.resid, results.model.loglikeobs(results.params)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    "work",
    [
        least_squares_by_rows,
        logit_by_rows,
        predictions_by_rows,
    ],
)
def test_after_fork(work: Callable[[], Any]) -> None:
    """A child inherits no threads, neither ours nor those of OpenMP."""
    expected = numbers(work)  # the parent has used its threads
    found = in_a_fork(work, 60.0)
    assert found is not None, "the child hangs"
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("work", WORK)
def test_twice_the_same_bits(work: Callable[[], Any]) -> None:
    np.testing.assert_array_equal(numbers(work), EXPECTED[work])


def test_one_model_many_fits() -> None:
    """Fits do not see each other, whatever their method, covariance or end."""
    model = tm.Logit(*LARGE)
    first = model.fit()
    with pytest.warns(ConvergenceWarning):
        model.fit(method="adam", maxiter=3)
    with pytest.raises(OptionError):
        model.fit(method="nothing")
    again = model.fit(cov_type="HC1").with_cov("nonrobust")
    np.testing.assert_array_equal(again.params, first.params)
    np.testing.assert_array_equal(again.bse, first.bse)


@pytest.mark.filterwarnings("ignore::torchmle.errors.ConvergenceWarning")
@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_seeds(method: str) -> None:
    """The same seed gives the same bits, whatever the global ones; another seed another path."""

    def run(seed: int | None) -> list[float]:
        torch.rand(3)
        return tm.Logit(*SMALL).fit(method=method, batch_size=32, maxiter=5, seed=seed).params.tolist()

    assert run(None) == run(None)
    assert run(4) == run(4)
    assert run(4) != run(5)


# ---- results are frozen


@pytest.mark.parametrize("name", ["params", "llf", "fit", "model", "anything"])
def test_results_are_frozen(name: str) -> None:
    results = tm.Logit(*SMALL).fit()
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(results, name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(results, name)


VIEWS = {
    "params": lambda r: r.params,
    "bse": lambda r: r.bse,
    "tvalues": lambda r: r.tvalues,
    "link_params": lambda r: r.link_params,
    "hessian": lambda r: r.hessian,
    "cov_params": lambda r: r.cov_params(),
    "conf_int": lambda r: r.conf_int(),
    "fittedvalues": lambda r: r.fittedvalues,
    "history": lambda r: r.history,
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_handed_out_is_a_copy(name: str) -> None:
    results = tm.Logit(*SMALL).fit()
    view = VIEWS[name](results)
    before = view.copy(deep=True)
    view.iloc[:] = 0
    assert VIEWS[name](results).equals(before)


RECORDS = {
    "options": lambda r: r.record.options,
    "start": lambda r: r.record.start,
    "cov_kwds": lambda r: r.cov_kwds,
}


@pytest.mark.parametrize("name", list(RECORDS))
def test_records_cannot_be_written(name: str) -> None:
    results = tm.Logit(*SMALL).fit()
    with pytest.raises(TypeError):
        RECORDS[name](results)["a"] = 1
