"""Results kept: what is saved is what is loaded, to the last bit; what is damaged is an error; nothing is run."""

import copy
import datetime
import gc
import hashlib
import json
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm
from torchmle.results import store

MROZ = tm.datasets.load("mroz")
MROZ = MROZ.assign(
    count=np.arange(len(MROZ)) % 3 + 1,
    share=np.linspace(0.5, 2.0, len(MROZ)),
    block=MROZ.index // 25,
    region=np.where(MROZ.city == 1, "town", np.where(MROZ.educ > 12, "coast", "land")),
)
WAGE = tm.datasets.load("wage1")
RNG = np.random.default_rng(5)
XX = RNG.normal(size=(120, 2))
YY = XX @ [1.0, -0.5] + RNG.normal(size=120)


class Opaque(tm.GenericLikelihoodModel):
    """A normal regression in the opaque form, lifted, with a parameter kept positive and a tensor of its own."""

    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        z = (self.endog - self.exog @ params[:-1]) / params[-1]
        return tm.normal_logpdf(z) - torch.log(params[-1])

    def predict_mean(self, params):
        return self.exog @ params[: self.exog.shape[1]]


class Scalar(tm.GenericLikelihoodModel):
    """A likelihood without rows."""

    def loglike(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params)).sum()


class WithData(tm.GenericLikelihoodModel):
    """A probit with row data and attributes of its own."""

    def __init__(self, endog, exog=None, **kwargs):
        super().__init__(endog, exog, **kwargs)
        self.nodes = torch.linspace(0, 1, 5, dtype=torch.float64)
        self.settings = {"power": 2, "names": ("a", "b")}

    def loglikeobs(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params[:-1] + self.z * params[-1] * self.nodes[-1]))

    extra_params = ("by_z",)


class Declared(tm.LinearPredictorModel):
    """A normal regression with a formula for its scale."""

    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

    def mean(self, mu, log_sigma):
        return mu


def _logit(**kw):
    return tm.Logit.from_formula("inlf ~ educ + age + C(region) + I(age**2)", MROZ, **kw)


CASES = {
    "ols": lambda: tm.OLS.from_formula("lwage ~ educ + exper", WAGE).fit(),
    "ols with robust errors": lambda: tm.OLS.from_formula("lwage ~ educ + exper", WAGE).fit(cov_type="HC1"),
    "ols by QR": lambda: tm.OLS.from_formula("lwage ~ exper + I(1e-6*exper**2 + exper)", WAGE).fit(),
    "ols without an intercept": lambda: tm.OLS.from_formula("lwage ~ educ - 1", WAGE).fit(),
    "ols by likelihood": lambda: tm.OLS.from_formula("lwage ~ educ", WAGE).fit(method="bfgs"),
    "a formula for sigma": lambda: tm.OLS.from_formula("lwage ~ educ", WAGE, log_sigma="1 + female").fit(),
    "var_weights": lambda: tm.WLS.from_formula("lwage ~ educ", WAGE, weights="exper").fit(),
    "logit": _logit().fit,
    "freq_weights": lambda: _logit(freq_weights="count").fit(cov_type="HC0"),
    "sampling_weights": lambda: _logit(sampling_weights="share").fit(),
    "clusters given with the data": lambda: _logit(sampling_weights="share", groups="block").fit(),
    "clusters by name": lambda: _logit().fit(cov_type="cluster", cov_kwds={"groups": "block"}),
    "clusters by Series": lambda: _logit().fit(cov_type="cluster", cov_kwds={"groups": MROZ.block}),
    "clusters by array": lambda: _logit().fit(
        cov_type="cluster", cov_kwds={"groups": MROZ.block.to_numpy(), "use_correction": "stata"}
    ),
    "restricted": lambda: _logit().fit(fixed={"educ": 0.2}, constraints="age = 0"),
    "bounds": lambda: _logit().fit(bounds={"educ": (0.25, None)}),
    "started": lambda: tm.Probit.from_formula("inlf ~ educ", MROZ).fit(pd.Series({"educ": 0.1, "Intercept": 0})),
    "unconverged": lambda: _logit().fit(maxiter=1),
    "separated": lambda: tm.Logit(np.repeat([0, 1], 10), np.arange(20.0)).fit(),
    "separated rows left out": lambda: tm.Logit.from_formula(
        "y ~ x + d", pd.DataFrame({"y": [0, 1] * 20 + [1, 1], "x": np.arange(42) % 7, "d": [0] * 40 + [1, 1]})
    ).fit(options={"separation": "drop"}),
    "poisson with exposure": lambda: tm.Poisson.from_formula("kidslt6 ~ educ", MROZ, exposure="age").fit(),
    "two predictors": lambda: tm.NegativeBinomial.from_formula(
        "kidsge6 ~ educ + age", MROZ, log_alpha="1 + city"
    ).fit(),
    "natural parameter": lambda: tm.NegativeBinomial.from_formula("kidsge6 ~ educ", MROZ).fit(cov_type="opg"),
    "float32": lambda: _logit(dtype="float32").fit(),
    "stochastic": lambda: _logit().fit(method="adam", maxiter=30, seed=7, batch_size=200, options={"lr": 0.1}),
    "arrays": lambda: tm.OLS(YY, tm.add_constant(XX)).fit(),
    "columns in Fortran order": lambda: tm.OLS(YY, np.asfortranarray(tm.add_constant(XX))).fit(method="newton"),
    "labels of two levels": lambda: tm.OLS(
        pd.Series(YY, index=pd.MultiIndex.from_product([["a", "b"], range(60)])), None
    ).fit(method="newton"),
    "opaque": lambda: Opaque.from_formula("lwage ~ educ", WAGE).fit(cov_type="HC1"),
    "scalar": lambda: Scalar.from_formula("inlf ~ educ", MROZ).fit(),
    "row data": lambda: WithData.from_formula("inlf ~ educ", MROZ, row_data={"z": "age"}).fit(),
    "declared": lambda: Declared.from_formula("lwage ~ educ", WAGE, log_sigma="1 + female").fit(),
    "missing rows": lambda: tm.OLS.from_formula("lwage ~ educ", MROZ.assign(educ=MROZ.educ.where(MROZ.age > 35))).fit(),
}


@pytest.fixture(scope="module", params=list(CASES))
def results(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        return CASES[request.param]()


NUMBERS = ["llf", "llnull", "llr", "llr_pvalue", "prsquared", "aic", "bic", "nobs", "df_model", "df_resid", "scale"]
NUMBERS += ["converged", "status", "method", "engine", "cov_type", "use_t", "df_resid_inference", "names"]
LEAST_SQUARES = ["rsquared", "rsquared_adj", "fvalue", "f_pvalue", "ssr", "ess", "centered_tss", "uncentered_tss"]
LEAST_SQUARES += [
    "mse_model",
    "mse_resid",
    "mse_total",
    "k_constant",
    "durbin_watson",
    "jarque_bera",
    "omnibus",
    "skew",
]
LEAST_SQUARES += ["kurtosis", "condition_number", "omnibus_pvalue", "jarque_bera_pvalue"]


def outcome(function):
    """What a call gives: its value, or the kind of error."""
    try:
        return function()
    except tm.TorchmleError as error:
        return type(error)


def assert_same(one, other):
    """Every number of two results is the same, to the last bit."""
    assert type(one) is type(other)
    for name in [*NUMBERS, *(LEAST_SQUARES if isinstance(one, tm.LinearResults) else [])]:
        a, b = outcome(lambda n=name: getattr(one, n)), outcome(lambda n=name: getattr(other, n))
        assert a == b or (isinstance(a, float) and np.isnan(a) and np.isnan(b)), (name, a, b)
    for name in ["params", "link_params", "bse", "tvalues", "pvalues", "score", "history", "hessian"]:
        assert getattr(one, name).equals(getattr(other, name)), name
    assert one.cov_params().equals(other.cov_params())
    assert one.conf_int(0.1).equals(other.conf_int(0.1))
    assert str(one.summary()) == str(other.summary())
    assert one.summary().as_html() == other.summary().as_html()
    assert one.record == other.record
    assert one.fit.notes == other.fit.notes
    assert one.fit.separation == other.fit.separation
    assert one.inference.covariance.description == other.inference.covariance.description
    if isinstance(one, tm.LinearResults):
        np.testing.assert_array_equal(one.eigenvals, other.eigenvals)


def new_rows(results):
    """Some rows that the fit has not seen, in the form that it was given."""
    if results.model.data.formulas is not None:
        frame = MROZ if "inlf" in str(results.record.formula) or "kids" in str(results.record.formula) else WAGE
        if results.record.formula == "y ~ x + d":
            return pd.DataFrame({"x": [1.0, 2.0], "d": [0, 0]}), {}
        given = {"exposure": 2.0} if "exposure" in results.record.inputs else {}
        return frame.iloc[[5, 3, 40]].assign(age=33, exper=2.5), given
    first = next(iter(results.model.data.designs.values()))
    return np.arange(2.0 * first.X.shape[1]).reshape(2, -1) + 1, {}


def predicted(results, which):
    exog, given = new_rows(results)
    return outcome(lambda: results.predict(exog, which, **given))


def assert_same_predictions(one, other):
    for which in ("mean", "linear"):
        a, b = predicted(one, which), predicted(other, which)
        assert a.equals(b) if isinstance(a, pd.Series) else a is b, which


def covariances(results):
    """Other covariances of a fit, where they are defined."""
    found = {}
    for name in ("nonrobust", "opg", "HC0", "HC1"):
        found[name] = outcome(lambda n=name: results.with_cov(n).cov_params())
    codes = np.arange(results.model.data.rows.total) // 7
    found["cluster"] = outcome(lambda: results.with_cov("cluster", {"groups": codes}).cov_params())
    return found


def assert_same_rows(one, other):
    """What is computed from the rows is the same, to the last bit."""
    for name, matrix in covariances(one).items():
        again = covariances(other)[name]
        assert matrix.equals(again) if isinstance(matrix, pd.DataFrame) else matrix is again, name
    for get in (lambda r: r.resid, lambda r: r.fittedvalues, lambda r: r.predict(which="linear"),
                lambda r: r.residuals("pearson"), lambda r: r.margins().table):  # fmt: skip
        a, b = outcome(lambda g=get: g(one)), outcome(lambda g=get: g(other))
        assert a.equals(b) if isinstance(a, (pd.Series, pd.DataFrame)) else a is b
    assert one.model.data.rows.labels.equals(other.model.data.rows.labels)


def assert_needs_rows(results):
    for call in (
        lambda: results.with_cov("HC1"),
        lambda: results.resid,
        lambda: results.fittedvalues,
        lambda: results.predict(),
        lambda: results.compare_ols(),
        lambda: results.residuals(),
        lambda: results.margins() if results.converged else results.resid,
        lambda: results.model.take(slice(0, 2)),
        lambda: results.model.endog + 1,
        lambda: results.model.fit(method="newton"),
        lambda: tm.replay(results),
    ):
        with pytest.raises(tm.NoDataError, match=r"saved without data.*data=True"):
            call()


def load(path, results):
    """Load with a warning that would be a surprise turned into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tm.load(path)


# ---- round trips


def test_saved_without_data(results, tmp_path):
    path = tmp_path / "fit.torchmle"
    results.save(path)
    again = load(path, results)
    assert_same(results, again)
    assert_same_predictions(results, again)
    assert_needs_rows(again)
    assert path.stat().st_size < 120_000


def test_saved_with_data(results, tmp_path):
    path = tmp_path / "fit.torchmle"
    results.save(str(path), data=True)
    again = load(str(path), results)
    assert_same(results, again)
    assert_same_predictions(results, again)
    assert_same_rows(results, again)


def test_saved_twice_is_the_same_file(results, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    results.save(one, data=True)
    load(one, results).save(other, data=True)
    assert one.read_bytes() == other.read_bytes()


def test_lean(results, tmp_path):
    less = results.lean()
    assert_same(results, less)
    assert_same_predictions(results, less)
    assert_needs_rows(less)
    assert less.lean() is less
    with pytest.raises(tm.NoDataError):
        less.save(tmp_path / "fit", data=True)
    less.save(tmp_path / "fit")
    assert_same(results, load(tmp_path / "fit", results))


def test_pickle_and_copies(results):
    for again in (pickle.loads(pickle.dumps(results)), copy.deepcopy(results)):
        assert_same(results, again)
        assert_same_predictions(results, again)
        assert_same_rows(results, again)
        assert again.model.endog.data_ptr() != results.model.endog.data_ptr()
    less = pickle.loads(pickle.dumps(results.lean()))
    assert_same(results, less)
    assert_needs_rows(less)
    assert copy.copy(results).model is results.model


def test_replayed(results, tmp_path):
    """The same data give the same bits: from the results, from a file, and from the record and the table."""
    path = tmp_path / "fit.torchmle"
    results.save(path, data=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        for again in (tm.replay(results), tm.replay(path)):
            assert_same_fit(results, again)
    assert json.loads(json.dumps(results.record.as_dict()))["arguments"] == dict(results.record.arguments)


def assert_same_fit(one, other):
    for name in ("params", "bse", "score", "hessian"):
        assert getattr(one, name).equals(getattr(other, name)), name
    assert one.history.drop(columns="seconds").equals(other.history.drop(columns="seconds"))
    assert one.llf == other.llf
    assert one.status == other.status
    assert str(one.summary()) == str(other.summary())


# ---- replay on a table

ON_TABLE = {"ols": WAGE, "clusters by name": MROZ, "restricted": MROZ, "bounds": MROZ, "started": MROZ,
            "two predictors": MROZ, "float32": MROZ, "stochastic": MROZ, "row data": MROZ, "opaque": WAGE,
            "sampling_weights": MROZ, "var_weights": WAGE, "poisson with exposure": MROZ}  # fmt: skip


@pytest.mark.parametrize("name", list(ON_TABLE))
def test_replayed_on_a_table(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        results = CASES[name]()
        again = tm.replay(results.record, ON_TABLE[name])
        fewer = tm.replay(results.lean(), ON_TABLE[name].iloc[::2])
    assert_same_fit(results, again)
    assert fewer.nobs < results.nobs
    assert fewer.record.arguments == results.record.arguments


def test_replay_says_what_it_cannot_repeat():
    model = _logit()
    seen = model.fit(callback=lambda row: False)
    with pytest.warns(tm.DataWarning, match="callback"):
        tm.replay(seen)
    by_array = model.fit(cov_type="cluster", cov_kwds={"groups": MROZ.block.to_numpy()})
    with pytest.raises(tm.OptionError, match=r"groups.*ndarray"):
        tm.replay(by_array, MROZ)
    weighted = _logit(freq_weights=MROZ["count"].to_numpy()).fit()
    with pytest.raises(tm.OptionError, match="freq_weights were given as arrays"):
        tm.replay(weighted, MROZ)
    with pytest.raises(tm.OptionError, match="not made of a formula"):
        tm.replay(tm.OLS(YY, XX).fit(), MROZ)
    with pytest.raises(tm.OptionError, match="holds no data"):
        tm.replay(seen.record)
    with pytest.raises(tm.OptionError, match="not both"):
        tm.replay(seen, MROZ, model=model)
    with pytest.raises(tm.OptionError, match="source is int"):
        tm.replay(3)


def test_replay_on_a_built_model():
    results = _logit().fit(cov_type="HC1")
    other = tm.replay(results.record, model=_logit(freq_weights="count"))
    assert other.cov_type == "HC1"
    assert other.nobs == MROZ["count"].sum()


def test_a_resumed_fit_is_replayed_from_where_it_went_on():
    with pytest.warns(tm.ConvergenceWarning):
        first = _logit().fit(method="bfgs", maxiter=3)
    again = _logit().fit(method="bfgs", resume=first)
    assert_same_fit(again, tm.replay(again))


def test_a_fit_goes_on_from_saved_results(tmp_path):
    results = _logit().fit()
    results.save(tmp_path / "fit")
    again = _logit().fit(resume=tmp_path / "fit")
    assert again.fit.iterations <= 1
    assert again.converged


# ---- damage


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "small"
    tm.OLS(YY[:12], XX[:12]).fit().save(path)
    return path.read_bytes()


def refused(content, tmp_path):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(tm.StoreError):
        tm.load(path)


def test_every_flipped_byte_is_an_error(small, tmp_path):
    for at in range(len(small)):
        changed = bytearray(small)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(tm.StoreError):
            store.parse(bytes(changed), "x")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_is_an_error(small, data):
    kind = data.draw(st.sampled_from(["cut", "flip", "insert", "drop", "repeat"]))
    at = data.draw(st.integers(0, len(small) - 1))
    changed = {
        "cut": small[:at],
        "flip": small[:at] + bytes([small[at] ^ data.draw(st.integers(1, 255))]) + small[at + 1 :],
        "insert": small[:at] + data.draw(st.binary(min_size=1, max_size=9)) + small[at:],
        "drop": small[:at] + small[at + 1 :],
        "repeat": small + small,
    }[kind]
    with pytest.raises(tm.StoreError):
        store.parse(changed, "x")


@pytest.mark.parametrize(("content", "words"), [
    (b"", "no file of results"),
    (b"x" * 500, "no file of results"),
    (pickle.dumps({"a": 1}), "no file of results"),
    (b"torchmle checkpoint 1\nabc", "checkpoint"),
    (b"torchmle results 2\nabc", "Update torchmle"),
    (b"torchmle results 1\nabc\n", "damaged"),
])  # fmt: skip
def test_other_files(content, words, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(tm.StoreError, match=words):
        tm.load(path)


def test_no_file(tmp_path):
    with pytest.raises(tm.StoreError, match="no file"):
        tm.load(tmp_path / "nothing")
    with pytest.raises(tm.StoreError, match="is a folder"):
        tm.load(tmp_path)
    with pytest.raises(tm.OptionError, match="name of a file"):
        tm.load(3)
    results = tm.OLS(YY, XX).fit()
    with pytest.raises(tm.OptionError, match="does not exist"):
        results.save(tmp_path / "no" / "file")
    with pytest.raises(tm.OptionError, match="is a folder"):
        results.save(tmp_path)
    with pytest.raises(tm.OptionError, match="name of a file"):
        results.save(None)
    with pytest.raises(tm.OptionError, match="data="):
        results.save(tmp_path / "file", data="yes")


@pytest.mark.parametrize("name", ["replace", "fsync"])
def test_a_crash_while_saving_leaves_the_old_file(name, tmp_path, monkeypatch):
    path = tmp_path / "fit"
    tm.OLS(YY, XX).fit().save(path)
    old = path.read_bytes()
    other = tm.OLS(YY, tm.add_constant(XX)).fit()
    for error, seen in (
        (OSError(28, "No space left on device"), tm.StoreError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            with pytest.raises(seen):
                other.save(path)
        assert path.read_bytes() == old
        assert [p.name for p in tmp_path.iterdir()] == ["fit"]
    other.save(path)
    assert tm.load(path).params.equals(other.params)


def test_a_saved_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").write_text("x")
    tm.OLS(YY, XX).fit().save(tmp_path / "fit")
    assert (tmp_path / "fit").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---- a file cannot run code


def forged(path, change):
    """Write a file again with another manifest and the checksum that fits."""
    contents = store.read(path)
    change(contents.manifest)
    path.write_bytes(b"".join(bytes(p) for p in store.pieces(contents)))


def texts(value, old, new):
    """Replace text in a manifest."""
    return json.loads(json.dumps(value).replace(old, new))


@pytest.mark.parametrize("evil", [
    "__import__('os').mkdir('EVIL')",
    "np.f2py.os.mkdir('EVIL')",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "educ.to_csv('EVIL')",
    "np.savetxt('EVIL', educ)",
    "(lambda: open('EVIL', 'w'))()",
    "educ.map(eval)",
    "hashed(educ, levels=3, hash_func=eval)",
    "I(educ).__class__",
])  # fmt: skip
def test_a_formula_in_a_file_runs_nothing(evil, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit"
    tm.OLS.from_formula("lwage ~ np.sqrt(educ)", WAGE).fit().save(path)
    forged(path, lambda m: m.update(texts(m, "np.sqrt(educ)", json.dumps(evil)[1:-1])))
    loaded = tm.load(path)
    with pytest.raises(tm.FormulaError, match="cannot be read with loaded results"):
        loaded.predict(WAGE)
    with pytest.raises(tm.TorchmleError):
        tm.replay(loaded, WAGE)
    with pytest.raises(tm.TorchmleError):
        tm.replay(loaded.record, WAGE)
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]


def test_a_replay_writes_no_file_that_a_record_names(tmp_path):
    results = _logit().fit()
    path = tmp_path / "evil"
    record = copy.copy(results.record)
    object.__setattr__(record, "arguments", {"checkpoint": str(path), "method": "bfgs"})
    tm.replay(record, MROZ)
    assert not path.exists()


@pytest.mark.parametrize("change", [
    lambda m: m.update({"class": ["os", "system"]}),
    lambda m: m.update({"class": ["antigravity", "Model"]}),
    lambda m: m.update({"results": "Popen"}),
    lambda m: m["fit"].update({"name": "Popen"}),
    lambda m: m["fit"].update({"kind": "object"}),
    lambda m: m["fit"]["value"].pop("map"),
    lambda m: m["fit"]["value"].update({"unheard": 1}),
    lambda m: m["fit"]["value"]["gamma"].update({"value": 99}),
    lambda m: m["attributes"].pop("data"),
    lambda m: m.pop("record"),
])  # fmt: skip
def test_a_file_that_makes_no_sense_is_an_error(change, tmp_path):
    path = tmp_path / "fit"
    tm.OLS.from_formula("lwage ~ educ", WAGE).fit().save(path)
    forged(path, change)
    with pytest.raises(tm.StoreError):
        tm.load(path)
    assert "antigravity" not in sys.modules


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    path = tmp_path / "fit"
    _logit().fit().save(path, data=True)

    def fail(*_, **__):
        raise AssertionError("unpickled")

    for module, names in ((pickle, ("load", "loads", "Unpickler")), (torch, ("load",)), (np, ("load",))):
        for name in names:
            monkeypatch.setattr(module, name, fail)
    tm.load(path).predict(MROZ)


def test_the_checksum_is_sha256_of_what_follows(small):
    head, digest, body = small.split(b"\n", 2)
    assert hashlib.sha256(head + b"\n" + body).hexdigest().encode() == digest


# ---- formulas

FORMULAS = [
    "lwage ~ educ * female",
    "lwage ~ C(numdep) + np.log(exper + 1)",
    "lwage ~ center(educ) + scale(exper)",
    "lwage ~ poly(exper, 3)",
    "lwage ~ bs(exper, df=5) + cr(tenure, df=4)",
    "lwage ~ C(region, contr.sum) : educ",
    "lwage ~ C(region, contr.treatment('west')) + C(region):exper",
    "lwage ~ region + educ - 1",
    "lwage ~ {educ / 2} + I(exper > 10) + `my col`",
    "lwage ~ exper.clip(0, 20) + educ.isin([12, 16])",
    "lwage ~ C(level) + flag",
]
TABLE = WAGE.assign(
    region=np.where(WAGE.west == 1, "west", np.where(WAGE.south == 1, "south", "other")),
    level=pd.Categorical(np.where(WAGE.educ > 12, "hi", "lo"), categories=["lo", "mid", "hi"], ordered=True),
    flag=WAGE.married == 1,
    **{"my col": WAGE.tenure},
)


@pytest.mark.parametrize("formula", FORMULAS)
def test_new_data_are_read_as_in_the_fit(formula, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tm.TorchmleWarning)
        results = tm.OLS.from_formula(formula, TABLE).fit()
    results.save(tmp_path / "fit")
    again = load(tmp_path / "fit", results)
    for rows in (TABLE.sample(60, random_state=1), TABLE.iloc[[7]], TABLE[TABLE.region == "west"].iloc[:5]):
        assert results.predict(rows).equals(again.predict(rows))
    if "region" in formula:
        with pytest.raises(tm.FormulaError, match="were not in the data of the fit"):
            again.predict(TABLE.iloc[:3].assign(region="moon"))


def half(x):
    return x / 2


def test_a_function_in_a_formula_is_not_stored(tmp_path):
    model = tm.OLS.from_formula("lwage ~ half(educ)", WAGE)
    results = model.fit()
    with pytest.warns(tm.DataWarning, match="half"):
        results.save(tmp_path / "fit")
    again = tm.load(tmp_path / "fit")
    assert_same(results, again)
    with pytest.raises(tm.FormulaError, match=r"half.*model=model"):
        again.predict(WAGE)
    for built in (model, tm.OLS.from_formula("lwage ~ half(educ)", WAGE.iloc[:80])):
        assert tm.load(tmp_path / "fit", model=built).predict(WAGE).equals(results.predict(WAGE))
    assert pickle.loads(pickle.dumps(results)).predict(WAGE).equals(results.predict(WAGE))


def test_functions_of_numpy_are_known(tmp_path):
    from math import pi

    from numpy import sqrt
    from scipy.special import expit

    results = tm.OLS.from_formula("lwage ~ sqrt(educ) + expit(exper / 10) + I(tenure * pi)", WAGE).fit()
    results.save(tmp_path / "fit")
    del sqrt, expit, pi
    assert tm.load(tmp_path / "fit").predict(WAGE).equals(results.predict(WAGE))


# ---- classes


def test_a_class_has_to_be_there(tmp_path):
    def make(sign):
        class Local(tm.GenericLikelihoodModel):
            extra_params = ("level",)

            def loglikeobs(self, params):
                return tm.normal_logpdf(self.endog - sign * params[0])

            def predict_mean(self, params):
                return sign * params[0] * torch.ones_like(self.endog)

        return Local

    cls = make(1.0)
    results = cls(YY).fit()
    results.save(tmp_path / "fit", data=True)
    assert_same(results, tm.load(tmp_path / "fit"))
    assert_same(results, tm.load(tmp_path / "fit", model=cls))
    with pytest.raises(tm.StoreError, match="not that of the fit"):
        tm.load(tmp_path / "fit", model=make(3.0))
    with pytest.raises(tm.OptionError, match="model is Logit"):
        tm.load(tmp_path / "fit", model=tm.Logit)
    with pytest.raises(tm.OptionError, match="likelihood model"):
        tm.load(tmp_path / "fit", model=dict)
    name = "renamed"
    forged(tmp_path / "fit", lambda m: m.update({"class": ["elsewhere", name]}))
    with pytest.raises(tm.StoreError, match="Define or import it first"):
        tm.load(tmp_path / "fit")


def test_a_class_of_another_process(tmp_path):
    code = f"""
import torchmle as tm
class Elsewhere(tm.Logit):
    pass
Elsewhere.from_formula("inlf ~ educ", tm.datasets.load("mroz")).fit().save({str(tmp_path / "fit")!r}, data=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(tm.StoreError, match=r"Elsewhere.*not defined"):
        tm.load(tmp_path / "fit")

    class Elsewhere(tm.Logit):
        pass

    with pytest.raises(tm.StoreError):  # Elsewhere is another class: it is called ...<locals>.Elsewhere
        tm.load(tmp_path / "fit")
    again = tm.load(tmp_path / "fit", model=Elsewhere)
    assert again.params.equals(tm.Logit.from_formula("inlf ~ educ", MROZ).fit().params)
    del again, Elsewhere
    gc.collect()


def curve(p, d):
    return tm.normal_logpdf((d["endog"] - d["exog"] @ p["b"]) / p["s"]) - torch.log(p["s"])


def of_function():
    return tm.likelihood(curve, {"b": "exog", "s": 1.0}, WAGE, formula="lwage ~ educ", transforms={"s": "positive"})


@pytest.mark.parametrize("data", [False, True])
def test_a_function_comes_with_its_model(data, tmp_path):
    results = of_function().fit()
    with pytest.warns(tm.DataWarning, match="function"):
        results.save(tmp_path / "fit", data=data)
    with pytest.raises(tm.StoreError, match="is a function"):
        tm.load(tmp_path / "fit")
    again = tm.load(tmp_path / "fit", model=of_function())
    assert_same(results, again)
    assert_same_rows(results, again)  # the rows of the model that was given are those of the fit
    assert_same_fit(results, tm.replay(again))
    assert_same_fit(results, tm.replay(tmp_path / "fit", model=of_function()))
    pickled = pickle.loads(pickle.dumps(results))
    assert_same(results, pickled)
    assert_same_rows(results, pickled)


def test_a_model_with_other_rows_gives_its_functions_only(tmp_path):
    results = _logit().fit()
    results.save(tmp_path / "fit")
    whole = tm.load(tmp_path / "fit", model=_logit())
    assert_same_rows(results, whole)
    other = tm.load(tmp_path / "fit", model=tm.Logit.from_formula("inlf ~ educ", MROZ.iloc[::9]))
    assert_same(results, other)
    assert_needs_rows(other)


def test_what_no_file_holds_is_named(tmp_path):
    model = WithData.from_formula("inlf ~ educ", MROZ, row_data={"z": "age"})
    model.helper = object()
    results = model.fit()
    with pytest.warns(tm.DataWarning, match="helper"):
        results.save(tmp_path / "fit")
    again = tm.load(tmp_path / "fit")
    assert not hasattr(again.model, "helper")
    assert again.model.settings == model.settings
    assert torch.equal(again.model.nodes, model.nodes)
    assert tm.load(tmp_path / "fit", model=model).model.helper is model.helper


def test_a_device_that_is_not_there_is_said(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("the device is there")
    results = _logit().fit()
    results.save(tmp_path / "fit", data=True)
    forged(tmp_path / "fit", lambda m: m["record"]["value"].update({"device": "cuda:0"}))
    with pytest.warns(tm.TorchmleWarning, match="compute on the CPU"):
        again = tm.load(tmp_path / "fit")
    assert again.record.device == "cuda:0"
    assert again.with_cov("HC1").bse.equals(results.with_cov("HC1").bse)


# ---- sizes, and what stays as it was


def test_lean_results_are_small():
    n = 200_000
    x = RNG.normal(size=(n, 5))
    results = tm.OLS(x @ np.ones(5) + RNG.normal(size=n), x).fit()
    assert len(pickle.dumps(results.lean())) < 60_000
    assert len(pickle.dumps(results)) > n * 6 * 8


def test_nothing_of_the_results_is_changed(tmp_path):
    results = _logit(groups="block").fit()
    before = {name: id(value) for name, value in vars(results.model).items()}
    X, frame = results.model.exog.clone(), MROZ.copy()
    results.save(tmp_path / "fit", data=True)
    results.lean()
    pickle.dumps(results)
    assert {name: id(value) for name, value in vars(results.model).items()} == before
    assert torch.equal(X, results.model.exog)
    assert frame.equals(MROZ)


@pytest.mark.parametrize("index", [
    pd.RangeIndex(3, 9, 2, name="n"),
    pd.Index([3, 1, 2]),
    pd.Index([0.5, 1.5, 2.5], name="f"),
    pd.Index(["a", "b", "ü"]),
    pd.Index(["a", 1, None], dtype=object),
    pd.Index(["a", "b", "c"], dtype=object),
    pd.DatetimeIndex(["2020-01-01", "2021-01-01", "2022-06-01"], name="day"),
    pd.DatetimeIndex(["2020-01-01", "2021-01-01", "2022-06-01"], tz="Europe/Berlin"),
    pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["u", None]),
    pd.CategoricalIndex(["x", "y", "x"], categories=["y", "x"], ordered=True),
    pd.Index([1, None, 3], dtype="Int64"),
])  # fmt: skip
def test_labels_survive(index, tmp_path):
    results = tm.OLS(pd.Series([1.0, 2.0, 4.0], index=index), pd.DataFrame({"c": 1.0}, index=index)).fit()
    results.save(tmp_path / "fit", data=True)
    pd.testing.assert_index_equal(load(tmp_path / "fit", results).resid.index, results.resid.index, exact=True)


def test_labels_that_cannot_be_stored_are_named(tmp_path):
    index = pd.PeriodIndex(["2020", "2021", "2022"], freq="Y")
    results = tm.OLS(pd.Series([1.0, 2.0, 4.0], index=index), pd.DataFrame({"c": 1.0}, index=index)).fit()
    results.save(tmp_path / "fit")
    with pytest.raises(tm.DataError, match="reset_index"):
        results.save(tmp_path / "more", data=True)
    assert pickle.loads(pickle.dumps(results)).resid.equals(results.resid)


def test_ids_that_cannot_be_stored_are_named(tmp_path):
    days = [datetime.date(2020, 1, 1 + i) for i in range(20)]
    ids = pd.Series([days[i % 20] for i in range(len(MROZ))], dtype=object)
    results = _logit().fit(cov_type="cluster", cov_kwds={"groups": ids})
    results.save(tmp_path / "fit")
    with pytest.raises(tm.DataError, match=r"datetime\.date"):
        results.save(tmp_path / "more", data=True)
    again = pickle.loads(pickle.dumps(results))
    assert again.cov_kwds["groups"].equals(ids)
    assert again.with_cov("cluster", again.cov_kwds).bse.equals(results.bse)
