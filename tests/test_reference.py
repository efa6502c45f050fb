"""Hold torchmle to the reference results in ``tests/reference`` (R, NIST; see its README.md).

Every JSON file found there is a case; what a case gives is compared at the case's own ``rtol``. A new model
is a line in ``MODELS``, a new statistic a line in one of the tables below it.
"""

import functools
import json
import re
import runpy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import formulaic
import numpy as np
import pandas as pd
import pytest

import torchmle as tm

ROOT = Path(__file__).parent / "reference"

# The reference's name of a model -> (torchmle's class, fit method; None is the closed form).
MODELS = {
    "OLS": ("OLS", None),
    "WLS": ("WLS", None),
    "normal regression by ML (sigma estimated)": ("OLS", "newton"),
    "logit": ("Logit", "newton"),
    "probit": ("Probit", "newton"),
    "Poisson": ("Poisson", "newton"),
    "negative binomial NB2": ("NegativeBinomial", "newton"),
}

# What stands in extra.subset, extra.weights and extra.offset; an expression that is not here is a KeyError.
EXPRESSIONS = {
    "fsize==1": lambda frame: frame["fsize"] == 1,
    "1/inc": lambda frame: 1 / frame["inc"],
    "log(Holders)": lambda frame: np.log(frame["Holders"]),
}

# Cases that have clustered errors but do not name the column: that of the case they were made with.
CLUSTERS = {"ols_star_ml": "schoolid"}

# Standard errors: the reference's field -> (cov_type, use_correction). R's vcovCL(type="HC1", cadjust=TRUE)
# is G/(G-1) x (n-1)/(n-K), which is torchmle's default.
ERRORS = {
    "bse": (None, None),
    "bse_OPG": ("opg", None),
    "bse_HC0": ("HC0", None),
    "bse_HC1": ("HC1", None),
    "bse_cluster0": ("cluster", False),
    "bse_cluster_G": ("cluster", "stata"),
    "bse_cluster_CR1": ("cluster", True),
}

# Single numbers: the reference's field -> how to read it from the results. The plain aic and bic count sigma,
# which the closed form does not (see ``numbers``).
NUMBERS: dict[str, Callable] = {
    "llf": lambda results: results.llf,
    "aic": lambda results: results.aic,
    "bic": lambda results: results.bic,
    "aic_excl_sigma": lambda results: results.aic,
    "bic_excl_sigma": lambda results: results.bic,
    "nobs": lambda results: results.nobs,
    "df_model": lambda results: results.df_model,
    "rsquared": lambda results: results.rsquared,
    "rsquared_adj": lambda results: results.rsquared_adj,
    "fvalue": lambda results: results.fvalue,
    "ssr": lambda results: results.ssr,
    "sigma": lambda results: np.sqrt(results.scale),
    "resid_sd": lambda results: np.sqrt(results.scale),
}

# First predictions: the reference's field -> the keywords of ``predict``.
PREDICTIONS = {"pred3": {}, "prob": {}, "mean": {}, "linear": {"which": "linear"}}

# Link values of natural parameters: the reference's name -> torchmle's.
LINKS = {"lnsigma": "log_sigma", "lnalpha": "log_alpha"}

# Cases that torchmle may answer with a warning: an almost collinear design, and perfect fits.
WARNED = {"ols_nist_filip", "ols_nist_wampler1", "ols_nist_wampler2"}

# Digits that NIST cases must reach whatever lstsq does (it has none on Filip, where QR on standardised
# columns has 7.5 to 8.1, depending on the LAPACK).
DIGITS = {"ols_nist_filip": 7.0}


@dataclass(frozen=True)
class Case:
    """One reference file."""

    ref: dict

    @property
    def id(self) -> str:
        return self.ref["id"]

    @property
    def rtol(self) -> float:
        return self.ref["rtol"]

    @property
    def names(self) -> list[str]:
        return list(self.ref["params"])

    @property
    def closed_form(self) -> bool:
        return MODELS[self.ref["model"]][1] is None

    @property
    def perfect_fit(self) -> bool:
        return self.field("ssr") == 0

    @property
    def nist(self) -> bool:
        return "nist_difficulty" in self.ref["extra"]

    @property
    def cluster(self) -> str | None:
        return self.field("cluster") or CLUSTERS.get(self.id)

    def field(self, name: str):
        """A field of the case, or of its ``extra``; None where it is in neither."""
        value = self.ref.get(name)
        return self.ref["extra"].get(name) if value is None else value

    def expression(self, name: str, frame: pd.DataFrame):
        text = self.field(name)
        return None if text is None else EXPRESSIONS[text](frame)

    def vector(self, name: str) -> pd.Series:
        return pd.Series(self.field(name), dtype=float)

    def frame(self) -> pd.DataFrame:
        """The rows used, with the labels they have in the file."""
        frame = pd.read_csv(ROOT / "data" / self.ref["data"])
        subset = self.expression("subset", frame)
        return frame if subset is None else frame[subset]

    def model(self, frame: pd.DataFrame, **options):
        """The torchmle model on the case's rows, weights and offset."""
        for name in ("weights", "offset"):
            values = self.expression(name, frame)
            if values is not None:
                options.setdefault(name, values)
        return getattr(tm, MODELS[self.ref["model"]][0]).from_formula(self.ref["formula"], frame, **options)


CASES = {c.id: c for c in (Case(json.loads(path.read_text())) for path in sorted(ROOT.glob("*.json")))}
LIKELIHOOD = [c.id for c in CASES.values() if not c.closed_form]
NIST = [c.id for c in CASES.values() if c.nist]


@functools.cache
def fitted(case_id: str, cov_type: str | None = None, use_correction: bool | str | None = None, **options):
    """The fit of a case, once per session."""
    case = CASES[case_id]
    options.setdefault("method", MODELS[case.ref["model"]][1])
    if cov_type == "cluster":
        options["cov_kwds"] = {"groups": case.cluster, "use_correction": use_correction}
    with warnings.catch_warnings():
        if case_id in WARNED:
            warnings.simplefilter("ignore", tm.TorchmleWarning)
        return case.model(case.frame()).fit(cov_type=cov_type, **options)


def pairs(fields, keep=lambda case, field: True):
    """(case, field) for each field that a case has."""
    found = [(c, f) for c in CASES.values() for f in fields if c.field(f) is not None and keep(c, f)]
    return [pytest.param(c, f, id=f"{c.id}-{f}") for c, f in found]


def numbers(case: Case, field: str) -> bool:
    """Drop what torchmle does not define so: AIC and BIC with sigma in the closed form; a perfect fit."""
    return not (case.perfect_fit or (case.closed_form and field in ("aic", "bic")))


def assert_close(actual, expected, rtol: float, scale=0.0) -> None:
    """Assert |actual - expected| <= rtol * (|expected| + scale).

    ``scale`` is the standard error where values may be near 0: a coefficient of 1e-4 with an error of 0.02 is
    not known to 8 digits by any optimizer, in either program; to 8 digits of its error it is.
    """
    expected = np.asarray(expected, dtype=float)
    unit = np.abs(expected) + np.asarray(scale)
    difference = np.asarray(actual, dtype=float) - expected
    np.testing.assert_allclose(difference / np.where(unit == 0, 1.0, unit), 0.0, rtol=0, atol=rtol)


def right_digits(values, exact) -> float:
    """The log relative error of the worst coefficient, as NIST grades: its right digits, 15 at most."""
    error = np.abs(np.asarray(values) - exact) / np.abs(exact)
    return float(np.min(-np.log10(np.clip(error, 1e-15, 1.0))))


# NIST's coefficients are graded by their digits, below; its standard errors here.
@pytest.mark.parametrize(("case", "field"), pairs(["params"], lambda case, field: not case.nist))
def test_params(case, field):
    actual = fitted(case.id).params
    assert sorted(actual.index) == sorted(case.names)
    assert_close(actual[case.names], case.vector(field), case.rtol, scale=case.vector("bse"))


@pytest.mark.parametrize(("case", "field"), pairs(ERRORS, lambda case, field: not case.perfect_fit))
def test_standard_errors(case, field):
    cov_type, use_correction = ERRORS[field]
    assert_close(fitted(case.id, cov_type, use_correction).bse[case.names], case.vector(field), case.rtol)


@pytest.mark.parametrize(("case", "field"), pairs(["cov"]))
def test_covariance(case, field):
    bse = case.vector("bse").to_numpy()
    actual = fitted(case.id).cov_params().loc[case.names, case.names]
    # A covariance near 0 is measured in the product of the two standard errors, as a correlation would be.
    assert_close(actual, case.field(field), case.rtol, scale=np.outer(bse, bse))


@pytest.mark.parametrize(("case", "field"), pairs(NUMBERS, numbers))
def test_number(case, field):
    assert_close(NUMBERS[field](fitted(case.id)), case.field(field), case.rtol)


@pytest.mark.parametrize(("case", "field"), pairs(["lr_test"]))
def test_likelihood_ratio(case, field):
    results, expected = fitted(case.id), case.field(field)
    assert results.df_model == expected["df"]
    assert_close([results.llnull, results.llr], [expected["llnull"], expected["stat"]], case.rtol)
    # p falls like exp(-stat / 2), so a relative error of stat is one of stat / 2 times that in p.
    assert_close(results.llr_pvalue, expected["p"], case.rtol * max(1.0, expected["stat"]))


def prediction(case: Case, field: str):
    """The first predictions of a case; its ``predict`` holds them by kind."""
    return case.field("pred3") if field == "pred3" else (case.field("predict") or {}).get(field)


PREDICTED = [
    pytest.param(c, f, id=f"{c.id}-{f}") for c in CASES.values() for f in PREDICTIONS if prediction(c, f) is not None
]


@pytest.mark.parametrize(("case", "field"), PREDICTED)
def test_predictions(case, field):
    expected = prediction(case, field)
    actual = fitted(case.id).predict(**PREDICTIONS[field])
    assert_close(np.asarray(actual)[: len(expected)], expected, case.rtol)


@pytest.mark.parametrize(("case", "field"), [p for p in PREDICTED if p.values[0].field("offset") is None])
def test_predictions_for_new_rows(case, field):
    expected = prediction(case, field)
    actual = fitted(case.id).predict(case.frame().head(len(expected)), **PREDICTIONS[field])
    assert_close(actual, expected, case.rtol)


@pytest.mark.parametrize(("case", "field"), pairs(["transforms"]))
def test_link_params(case, field):
    link_params = pd.Series(fitted(case.id).link_params, dtype=float)
    for name, expected in case.field(field).items():
        (actual,) = link_params[[str(label).startswith(LINKS[name]) for label in link_params.index]]
        assert_close(actual, expected["value"], case.rtol, scale=expected["bse"])


@pytest.mark.parametrize("case_id", [c.id for c in CASES.values() if c.cluster])
def test_groups_may_come_by_any_way(case_id):
    case = CASES[case_id]
    frame = case.frame()
    options = {"method": MODELS[case.ref["model"]][1], "cov_type": "cluster"}
    at_construction = case.model(frame, groups=case.cluster).fit(**options)
    shuffled = frame[case.cluster].sample(frac=1, random_state=0)  # a Series is aligned by its labels
    by_label = case.model(frame).fit(cov_kwds={"groups": shuffled}, **options)
    expected = fitted(case.id, "cluster", True).bse
    # The same sums in the same or another order: nothing but rounding may differ.
    assert_close(at_construction.bse[expected.index], expected, 1e-12)
    assert_close(by_label.bse[expected.index], expected, 1e-12)


# The robust errors of a perfect fit are rounding errors: those cases are left out.
@pytest.mark.parametrize("cov_type", ["HC0", "HC1"])
@pytest.mark.parametrize("case_id", [c.id for c in CASES.values() if not c.perfect_fit])
def test_with_cov_is_the_refit(case_id, cov_type):
    plain, refitted = fitted(case_id), fitted(case_id, cov_type)
    actual = plain.with_cov(cov_type)
    # The same formulas at the same point; the fit itself is deterministic.
    assert_close(actual.bse, refitted.bse, 1e-12)
    assert_close(actual.params, plain.params, 1e-15)
    assert (plain.bse != actual.bse).any()  # results are frozen: the first keeps its own errors


@pytest.mark.parametrize("method", ["newton", "bfgs", "lbfgs"])
@pytest.mark.parametrize("case_id", LIKELIHOOD)
def test_methods_agree(case_id, method):
    case, results = CASES[case_id], fitted(case_id, method=method)
    assert results.converged
    bse = case.vector("bse")
    # Converged is g'(-H)^-1 g <= 1e-10: no coefficient is then further than the root of it, 1e-5, from the
    # maximum in units of its error, nor the log-likelihood further than half of it below.
    params = case.vector("params")
    assert ((results.params[case.names] - params).abs() <= 1e-5 * bse + case.rtol * params.abs()).all()
    assert abs(results.llf - case.field("llf")) <= 1e-10 + 1e-12 * abs(case.field("llf"))


def test_exposure_is_an_offset():
    case = CASES["poisson_insurance_offset"]
    frame = case.frame()
    # setdefault in ``model`` would add the offset: build this one by hand.
    results = tm.Poisson.from_formula(case.ref["formula"], frame, exposure="Holders").fit(method="newton")
    assert_close(results.params[case.names], case.vector("params"), case.rtol, scale=case.vector("bse"))


@pytest.mark.parametrize("case_id", NIST)
def test_nist_digits(case_id):
    case = CASES[case_id]
    exact = np.array([float(value) for value in case.field("params_exact")])
    matrices = formulaic.Formula(case.ref["formula"]).get_model_matrix(case.frame())
    X, y = np.asarray(matrices.rhs, dtype=float), np.asarray(matrices.lhs, dtype=float)[:, 0]
    lstsq = right_digits(np.linalg.lstsq(X, y, rcond=None)[0], exact)
    actual = right_digits(fitted(case_id).params[case.names], exact)
    # 13 digits are as good as 15, and half a digit is the luck of the last rounding.
    assert actual >= max(min(lstsq, 13.0) - 0.5, DIGITS.get(case_id, 0.0))


@pytest.mark.parametrize("case_id", [c.id for c in CASES.values() if c.perfect_fit])
def test_perfect_fit(case_id):
    case = CASES[case_id]
    results, y = fitted(case_id), case.frame()["y"]
    # What is left is the rounding of y, some hundred units in its last place at most; the square roots of the
    # diagonal of (X'X)^-1 are about 1 on these designs.
    rounding = 500 * np.finfo(float).eps * y.abs().max()
    assert np.sqrt(results.scale) <= rounding
    assert (results.bse <= 2 * rounding).all()
    assert results.rsquared == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("case_id", NIST)
def test_nist_values_are_the_exact_solution(case_id):
    """The script beside the cases re-derives every NIST case, also those that were given, to 25 digits."""
    case, script = CASES[case_id], runpy.run_path(str(ROOT / "scripts" / "nist_exact.py"))
    powers = [int(k) for k in re.findall(r"\*\* (\d+)", case.ref["formula"])]
    path = ROOT / "data" / case.ref["data"]
    exact = script["solve"](script["read"](path), max(powers, default=1), "- 1" not in case.ref["formula"])
    assert exact["names"] == case.names
    for name in ("params", "bse"):
        assert [script["text"](value) for value in exact[name]] == case.field(f"{name}_exact")
        # The fields hold NIST's 15 printed digits.
        assert_close([float(value) for value in exact[name]], case.vector(name), 1e-14)


def test_every_data_file_has_its_provenance():
    readme = (ROOT / "README.md").read_text()
    files = {path.name for path in (ROOT / "data").iterdir()}
    assert {c.ref["data"] for c in CASES.values()} <= files
    assert {name for name in files if f"| `{name}` |" not in readme} == set()
