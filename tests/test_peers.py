"""Hold torchmle to statsmodels on the same data, wherever the two follow the same convention.

Where they do not, there is no comparison: statsmodels' discrete models ignore the n/(n-K) of HC1 (their HC1 is
HC0), and its F statistic under robust errors is a Wald test. NIST and R numbers are in ``test_reference.py``.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats import stattools

import torchmle as tm

DATA = Path(__file__).parent / "reference" / "data"

# Both programs solve the same float64 least squares: the difference is rounding, times a condition below 1e5 of
# the raw columns here. Maximum likelihood by two different Newton methods stops where the score is rounding.
CLOSED_FORM_RTOL, LIKELIHOOD_RTOL = 1e-9, 1e-7


@dataclass(frozen=True)
class Peer:
    """One model on one data set, in both programs."""

    ours: str
    theirs: str
    data: str
    formula: str
    groups: str  # any column with repeated values defines clusters
    weights: str | None = None

    @property
    def closed_form(self) -> bool:
        return self.ours in ("OLS", "WLS")

    @property
    def rtol(self) -> float:
        return CLOSED_FORM_RTOL if self.closed_form else LIKELIHOOD_RTOL

    @property
    def id(self) -> str:
        return f"{self.ours}-{self.data}"

    def frame(self) -> pd.DataFrame:
        return pd.read_csv(DATA / f"{self.data}.csv.gz")


@dataclass(frozen=True)
class Estimator:
    """A covariance estimator, and the models on which both programs define it alike."""

    cov_type: str
    kwds: dict = field(default_factory=dict)
    closed_form_only: bool = False

    def options(self, groups: pd.Series) -> dict:
        if self.cov_type != "cluster":
            return {"cov_type": self.cov_type}
        return {"cov_type": self.cov_type, "cov_kwds": {"groups": groups, **self.kwds}}


# Data whose residuals are not so far from normal that the p-values of the diagnostics underflow to 0 in both.
PEERS = [
    Peer("OLS", "ols", "w_wage1", "lwage ~ educ + exper + tenure + female", "educ"),
    Peer("OLS", "ols", "star_k", "score ~ small + aide + freelunch + male + experiencek", "schoolid"),
    Peer("OLS", "ols", "w_mroz", "hours ~ educ + age - 1", "exper"),
    Peer("OLS", "ols", "swisslabor", "age ~ income + C(youngkids) + foreign_d * education", "oldkids"),
    Peer("WLS", "wls", "w_wage1", "lwage ~ educ + tenure + female", "numdep", weights="exper"),
    Peer("Logit", "logit", "w_mroz", "inlf ~ nwifeinc + educ + exper + age + kidslt6", "educ"),
    Peer("Probit", "probit", "w_wagepan", "union ~ educ + exper + married + black + south", "nr"),
    Peer("Poisson", "poisson", "w_crime1", "narr86 ~ pcnv + avgsen + tottime + inc86 + black", "nparr86"),
    Peer("NegativeBinomial", "negativebinomial", "biochem", "articles ~ female + kids + mentor", "kids"),
]

ESTIMATORS = {
    "nonrobust": Estimator("nonrobust"),
    "HC0": Estimator("HC0"),
    "HC1": Estimator("HC1", closed_form_only=True),
    "cluster": Estimator("cluster"),
    "cluster-uncorrected": Estimator("cluster", {"use_correction": False}),
}

# The same attribute in both programs, on every model; then those of closed-form least squares.
STATISTICS = ["llf", "aic", "bic", "nobs", "df_model"]
LIKELIHOOD_STATISTICS = ["llnull", "llr", "llr_pvalue"]
LINEAR_STATISTICS = [
    *("rsquared", "rsquared_adj", "fvalue", "f_pvalue", "ssr", "ess", "centered_tss", "uncentered_tss"),
    *("mse_resid", "mse_model", "mse_total", "scale", "df_resid"),
]


# Diagnostics of the residuals: our attribute -> statsmodels' function of its results.
DIAGNOSTICS = {
    "omnibus": lambda results: stattools.omni_normtest(results.wresid)[0],
    "omnibus_pvalue": lambda results: stattools.omni_normtest(results.wresid)[1],
    "jarque_bera": lambda results: stattools.jarque_bera(results.wresid)[0],
    "jarque_bera_pvalue": lambda results: stattools.jarque_bera(results.wresid)[1],
    "skew": lambda results: stattools.jarque_bera(results.wresid)[2],
    "kurtosis": lambda results: stattools.jarque_bera(results.wresid)[3],
    "durbin_watson": lambda results: stattools.durbin_watson(results.wresid),
    "condition_number": lambda results: results.condition_number,
}


def in_torchmle(peer: Peer, frame: pd.DataFrame, fit=None, **options):
    if peer.weights is not None:
        options.setdefault("weights", 1 / frame[peer.weights])
    return getattr(tm, peer.ours).from_formula(peer.formula, frame, **options).fit(**(fit or {}))


def in_statsmodels(peer: Peer, frame: pd.DataFrame, fit=None):
    weights = {} if peer.weights is None else {"weights": 1 / frame[peer.weights]}
    model, fit = getattr(smf, peer.theirs)(peer.formula, frame, **weights), fit or {}
    if peer.closed_form:
        return model.fit(**fit)
    # Newton from where their default method stops, until the score is rounding: their own tolerances are loose.
    start = model.fit(disp=0, maxiter=500).params
    return model.fit(start_params=start, method="newton", tol=1e-14, disp=0, **fit)


@functools.cache
def both(peer: Peer, estimator: str = "nonrobust"):
    """The fits of the two programs, once per session."""
    frame = peer.frame()
    fit = ESTIMATORS[estimator].options(frame[peer.groups])
    return in_torchmle(peer, frame, fit), in_statsmodels(peer, frame, fit)


def crossed(peers, others, keep=lambda peer, other: True):
    """A test parameter for each pair; the others are named by their keys or themselves."""
    return [pytest.param(p, o, id=f"{p.id}-{o}") for p in peers for o in others if keep(p, o)]


def assert_agree(actual: pd.Series, expected: pd.Series, rtol, scale=0.0) -> None:
    """Assert |actual - expected| <= rtol * (|expected| + scale), label by label."""
    assert sorted(actual.index) == sorted(expected.index)
    expected = expected[actual.index]
    unit = expected.abs() + np.asarray(scale)
    assert ((actual - expected).abs() <= rtol * unit).all(), pd.DataFrame({"actual": actual, "expected": expected})


def intervals(results) -> pd.Series:
    """Both ends of the confidence intervals, in one column."""
    return results.conf_int().set_axis(["lower", "upper"], axis=1).stack()


def assert_same_statistic(ours, expected: float, name: str, rtol: float, scale: float = 0.0) -> None:
    """Assert that a single number agrees to rtol, a p-value by its logarithm.

    p falls like exp(-statistic / 2), so that log p is as well known as the statistic. ``abs`` is given because
    pytest.approx has one of 1e-12 of its own, which would let any two small p-values pass.
    """
    actual = getattr(ours, name)
    if name.endswith("pvalue"):
        with np.errstate(divide="ignore"):
            actual, expected = np.log(actual), np.log(expected)
    assert actual == pytest.approx(expected, rel=rtol, abs=rtol * scale)


def compare_errors(ours, theirs, rtol: float) -> None:
    assert_agree(ours.params, theirs.params, rtol, scale=theirs.bse)
    assert_agree(ours.bse, theirs.bse, rtol)


@pytest.mark.parametrize(
    ("peer", "estimator"),
    crossed(PEERS, ESTIMATORS, lambda peer, name: peer.closed_form or not ESTIMATORS[name].closed_form_only),
)
def test_errors_and_tests(peer, estimator):
    ours, theirs = both(peer, estimator)
    compare_errors(ours, theirs, peer.rtol)
    # An end of an interval may be near 0, and is known to rtol in units of the error.
    assert_agree(intervals(ours), intervals(theirs), peer.rtol, scale=np.repeat(theirs.bse[ours.bse.index], 2))
    # torchmle gives no test of alpha = 0, a point at the edge of the parameter space.
    tested = ours.tvalues.dropna().index
    assert set(ours.params.index) - set(tested) <= {"alpha"}
    assert_agree(ours.tvalues[tested], theirs.tvalues[tested], peer.rtol, scale=1.0)
    # p falls like exp(-t^2 / 2): a relative error of t is one of t^2 times that in p. Below 1e-300 p is 0.
    steep = peer.rtol * (1 + theirs.tvalues[tested] ** 2)
    assert_agree(ours.pvalues[tested], theirs.pvalues[tested], steep, scale=1e-300)


@pytest.mark.parametrize(
    ("peer", "statistic"),
    crossed(PEERS, STATISTICS)
    + crossed([p for p in PEERS if p.closed_form], LINEAR_STATISTICS)
    + crossed([p for p in PEERS if not p.closed_form], LIKELIHOOD_STATISTICS),
)
def test_statistics(peer, statistic):
    ours, theirs = both(peer)
    assert_same_statistic(ours, getattr(theirs, statistic), statistic, peer.rtol)


@pytest.mark.parametrize(("peer", "name"), crossed([p for p in PEERS if p.closed_form], DIAGNOSTICS))
def test_diagnostics(peer, name):
    ours, theirs = both(peer)
    # The condition number may be read from the eigenvalues of X'X, which loses its square in digits.
    rtol = peer.rtol + 1e-15 * theirs.condition_number**2 * (name == "condition_number")
    # A skewness may be near 0, and is known to rtol in units of 1.
    assert_same_statistic(ours, DIAGNOSTICS[name](theirs), name, rtol, scale=name == "skew")


UNWEIGHTED = [peer for peer in PEERS if peer.weights is None]  # weights are of one kind at a time


@functools.cache
def repeated(peer: Peer, estimator: str):
    """torchmle with frequency weights, and statsmodels on each row repeated as often as its weight says."""
    frame = peer.frame()
    frequency = pd.Series(np.random.default_rng(0).integers(0, 4, len(frame)), index=frame.index)
    rows = frame.loc[frame.index.repeat(frequency)].reset_index(drop=True)
    ours = in_torchmle(peer, frame, ESTIMATORS[estimator].options(frame[peer.groups]), freq_weights=frequency)
    return ours, in_statsmodels(peer, rows, ESTIMATORS[estimator].options(rows[peer.groups]))


@pytest.mark.parametrize(
    ("peer", "estimator"),
    crossed(UNWEIGHTED, ESTIMATORS, lambda peer, name: peer.closed_form or not ESTIMATORS[name].closed_form_only),
)
def test_frequency_weights_are_repeated_rows(peer, estimator):
    compare_errors(*repeated(peer, estimator), peer.rtol)


@pytest.mark.parametrize(
    ("peer", "statistic"),
    crossed(UNWEIGHTED, STATISTICS) + crossed([p for p in UNWEIGHTED if p.closed_form], LINEAR_STATISTICS),
)
def test_statistics_under_frequency_weights(peer, statistic):
    ours, theirs = repeated(peer, "nonrobust")
    assert_same_statistic(ours, getattr(theirs, statistic), statistic, peer.rtol)
