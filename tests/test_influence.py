"""Influence: against statsmodels, refits without the row, Newton steps taken by hand, and all subsets of small data."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import torch

import torchmle as tm
from torchmle.models import leftout

MROZ, WAGE = tm.datasets.load("mroz"), tm.datasets.load("wage1")
N = 120
RNG = np.random.default_rng(7)
FORMULA = " ~ x + z"


def table():
    """Rows with labels in no order, some of them with missing values, and weights of each kind."""
    x, z = RNG.normal(size=(2, N))
    eta = 0.3 + 0.8 * x - 0.5 * z
    data = pd.DataFrame({"x": x, "z": z, "off": RNG.normal(size=N) / 3})
    data["y"] = eta + RNG.normal(size=N) * np.exp(0.3 * x)
    data["b"] = (RNG.random(N) < 1 / (1 + np.exp(-eta))) * 1.0
    data["c"] = RNG.negative_binomial(2, 2 / (2 + np.exp(eta))) * 1.0
    data["f"] = RNG.integers(1, 4, N)
    data["w"] = RNG.uniform(0.3, 3, N)
    data["firm"] = RNG.choice(list("abcdefghijklmnopqrstuvwx"), N)
    data.index = [f"row{i}" for i in RNG.permutation(N)]
    data.iloc[[3, 50, 51], 1] = np.nan
    return data


DATA = table()
USED = DATA.dropna()


class OwnLogit(tm.GenericLikelihoodModel):
    """Opaque, lifted."""

    def loglikeobs(self, params):
        eta = self.exog @ params if self.offset is None else self.exog @ params + self.offset
        return tm.log_sigmoid((2 * self.endog - 1) * eta)


class PlainLogit(OwnLogit):
    """Opaque, by plain autograd."""

    lifting = False


class Hetero(tm.LinearPredictorModel):
    """Declarative, with two predictors."""

    predictors = {"mu": "1", "log_sigma": "1 + x"}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


class OwnNormal(tm.GenericLikelihoodModel):
    """Opaque, with a parameter beside the coefficients."""

    extra_params = ("log_sigma",)

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) * torch.exp(-params[-1])) - params[-1]


class Positive(OwnNormal):
    """The same with sigma kept positive by a transform."""

    extra_params = ("sigma",)
    transforms = {"sigma": "positive"}

    def loglikeobs(self, params):
        return tm.normal_logpdf((self.endog - self.exog @ params[:-1]) / params[-1]) - params[-1].log()


class Sum(OwnNormal):
    """A scalar log-likelihood."""

    loglikeobs = tm.GenericLikelihoodModel.loglikeobs

    def loglike(self, params):
        return (tm.normal_logpdf((self.endog - self.exog @ params[:-1]) * torch.exp(-params[-1])) - params[-1]).sum()


def quiet(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


# ---- statsmodels


def test_least_squares_equals_statsmodels():
    ours = tm.OLS.from_formula("lwage ~ educ + exper + female", WAGE).fit().influence()
    theirs = smf.ols("lwage ~ educ + exper + female", WAGE).fit().get_influence()
    pairs = {
        "leverage": theirs.hat_matrix_diag,
        "cooks_distance": theirs.cooks_distance[0],
        "resid_studentized": theirs.resid_studentized_internal,
        "resid_studentized_external": theirs.resid_studentized_external,
        "dffits": theirs.dffits[0],
        "dfbetas": theirs.dfbetas,
        "params_without": theirs.params_not_obsi,
        "sigma_without": np.sqrt(theirs.sigma2_not_obsi),
    }
    for name, wanted in pairs.items():
        np.testing.assert_allclose(getattr(ours, name), wanted, rtol=1e-8, atol=1e-12, err_msg=name)
    frame = theirs.summary_frame()
    common = ["cooks_d", "standard_resid", "hat_diag", "student_resid", "dffits"]
    np.testing.assert_allclose(ours.summary_frame()[common], frame[common], rtol=1e-8, atol=1e-12)
    assert set(frame.columns) - set(ours.summary_frame().columns) == {"dffits_internal"}


GLM = {"Logit": ("b", sm.families.Binomial()), "Poisson": ("c", sm.families.Poisson())}


@pytest.mark.parametrize("offset", [None, "off"])
@pytest.mark.parametrize("name", GLM)
def test_canonical_links_equal_statsmodels_glm(name, offset):
    y, family = GLM[name]
    ours = getattr(tm, name).from_formula(y + FORMULA, DATA, offset=offset).fit().influence()
    given = None if offset is None else USED[offset]
    theirs = smf.glm(y + FORMULA, USED, family=family, offset=given).fit(tol=1e-14).get_influence()
    np.testing.assert_allclose(ours.dfbeta, theirs.d_params, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(ours.leverage, theirs.hat_matrix_diag, rtol=1e-7)
    np.testing.assert_allclose(ours.cooks_distance, theirs.cooks_distance[0], rtol=1e-6, atol=1e-12)
    assert list(ours.leverage.index) == list(USED.index)


def test_logit_equals_statsmodels_discrete():
    ours = tm.Logit.from_formula("b" + FORMULA, DATA).fit().influence()
    theirs = smf.logit("b" + FORMULA, USED).fit(disp=0, tol=1e-14).get_influence()
    np.testing.assert_allclose(ours.dfbetas, theirs.dfbetas, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(ours.cooks_distance, theirs.cooks_distance[0], rtol=1e-6, atol=1e-12)


# ---- refits without the row, by statsmodels and of the model itself

WEIGHTS = {"none": None, "var_weights": "w", "freq_weights": "f", "sampling_weights": "w"}


@pytest.mark.parametrize("offset", [None, "off"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_least_squares_is_the_refit(kind, offset):
    """Without each row (one observation of freq_weights): weighted least squares of the rest by statsmodels."""
    given = {} if kind == "none" else {kind: WEIGHTS[kind]}
    ours = tm.OLS.from_formula("y" + FORMULA, DATA, offset=offset, **given).fit().influence()
    X = np.column_stack([np.ones(len(USED)), USED.x, USED.z])
    y = USED.y.to_numpy() - (0 if offset is None else USED[offset].to_numpy())
    w = np.ones(len(USED)) if kind == "none" else USED[WEIGHTS[kind]].to_numpy(dtype=float)
    for i in range(0, len(USED), 7):
        left = w.copy()
        left[i] -= 1.0 if kind == "freq_weights" else w[i]
        b = sm.WLS(y, X, left).fit().params
        np.testing.assert_allclose(ours.params_without.iloc[i], b, rtol=1e-10)
        if kind == "sampling_weights":
            continue
        n = left.sum() if kind == "freq_weights" else len(y) - 1
        ssr = (left * (y - X @ b) ** 2).sum()
        assert ours.sigma_without[i] == pytest.approx(np.sqrt(ssr / (n - 3)), rel=1e-10)
    total = (ours.leverage * (w if kind == "freq_weights" else 1)).sum()
    assert total == pytest.approx(3, rel=1e-12)


MODELS = {
    "logit": (tm.Logit, "b"),
    "probit": (tm.Probit, "b"),
    "poisson": (tm.Poisson, "c"),
    "negative binomial": (tm.NegativeBinomial, "c"),
    "ols by likelihood": (tm.OLS, "y"),
    "declarative": (Hetero, "y"),
    "opaque": (OwnLogit, "b"),
    "opaque, plain": (PlainLogit, "b"),
    "opaque, transform": (Positive, "y"),
}


def fitted(name, data, **how):
    kind, y = MODELS[name]
    model = kind.from_formula(y + FORMULA, data, **{k: how.pop(k) for k in (*WEIGHTS, "offset") if k in how})
    return model.fit(start_params=how.pop("start", None), method="newton", **how)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_near_the_refit(name):
    """The step forgets the third derivatives: of a change of d errors it misses some d^2 / sqrt(n) of it."""
    results = fitted(name, DATA)
    ours = results.influence()
    assert ours.leverage.sum() == pytest.approx(len(results.names), rel=1e-9)
    for label in [*ours.cooks_distance.nlargest(2).index, *USED.index[:2]]:
        there = fitted(name, DATA.drop(index=label)).params
        error = (ours.params_without.loc[label] - there).abs() / results.bse
        size = ours.dfbetas.loc[label].abs().max()
        assert (error < 0.02 + 0.25 * size).all(), (label, error, size)
        assert size < 0.05 or (error < 0.5 * size).all()


def newton(model, at, Z, scores, hessian):
    """A Newton step along the columns of Z."""
    return at + Z @ np.linalg.solve(-Z.T @ hessian @ Z, Z.T @ scores)


RESTRICTIONS = {
    "none": ({}, np.eye(3)),
    "fixed": ({"fixed": {"z": -0.4}}, np.eye(3)[:, :2]),
    "constraint": ({"constraints": "x + z = 0.2"}, np.array([[1, 0], [0, 1], [0, -1.0]])),
    "bounds that do not bind": ({"bounds": {"z": (-9, 9)}}, np.eye(3)),
}


@pytest.mark.parametrize("restriction", RESTRICTIONS)
@pytest.mark.parametrize("kind", ["none", "freq_weights", "sampling_weights"])
@pytest.mark.parametrize("name", ["probit", "opaque"])
def test_is_a_newton_step_on_the_rows_left(name, kind, restriction):
    """Scores and Hessians of rows by the model of the row alone; the sum of the rest makes the step."""
    how, Z = RESTRICTIONS[restriction]
    weight = {} if kind == "none" else {kind: WEIGHTS[kind]}
    results = fitted(name, DATA, offset="off", **weight, **how)
    model, b = results.model, results.params.to_numpy()
    rows = [model.take(torch.tensor([i])) for i in range(5)]
    w = USED.w.to_numpy() if kind == "sampling_weights" else np.ones(5)
    ours = results.influence()
    S, H = model.score_obs(b), model.hessian(b)
    total = model.score(b)
    for i, row in enumerate(rows):
        own = differences(row, b)
        np.testing.assert_allclose(
            ours.params_without.iloc[i], newton(model, b, Z, total - w[i] * S[i], H - w[i] * own), rtol=1e-6, atol=1e-8
        )


def differences(row, b):
    """The Hessian of one row's log-likelihood by central differences of values."""

    def value(p):
        params = torch.tensor(p)
        if hasattr(row, "logdensity"):
            return float(row.logdensity(row.endog, row.exog @ params + row.offset).sum())
        return float(row.loglikeobs(params).sum())

    h, K = 1e-4, len(b)
    out = np.zeros((K, K))
    for j, k in itertools.product(range(K), repeat=2):
        e, f = h * np.eye(K)[j], h * np.eye(K)[k]
        out[j, k] = (value(b + e + f) - value(b + e - f) - value(b - e + f) + value(b - e - f)) / (4 * h * h)
    return out


def test_transforms_are_stepped_in_free_numbers():
    """``"positive"`` is exp: the same steps as with log sigma among the parameters."""
    ours, log = (kind.from_formula("y" + FORMULA, DATA).fit().influence() for kind in (Positive, OwnNormal))
    np.testing.assert_allclose(ours.params_without["sigma"], np.exp(log.params_without["log_sigma"]), rtol=1e-8)
    np.testing.assert_allclose(ours.cooks_distance, log.cooks_distance, rtol=1e-7)
    closed = tm.OLS.from_formula("y" + FORMULA, DATA).fit(method="newton").influence()
    np.testing.assert_allclose(ours.params_without, closed.params_without, rtol=1e-7)


# ---- weights


@pytest.mark.parametrize("name", ["ols", "negative binomial", "opaque"])
def test_counts_are_repeated_rows(name):
    long = USED.loc[USED.index.repeat(USED.f)].reset_index(drop=True)
    first = np.r_[0, np.cumsum(USED.f)[:-1]]
    kind, y = (tm.OLS, "y") if name == "ols" else MODELS[name]
    short, full = (
        kind.from_formula(y + FORMULA, data, **how).fit() for data, how in ((USED, {"freq_weights": "f"}), (long, {}))
    )
    ours, theirs = short.influence(), full.influence()
    np.testing.assert_allclose(ours.summary_frame(), theirs.summary_frame().iloc[first], rtol=1e-6, atol=1e-9)
    ours, theirs = short.influence(groups="firm"), full.influence(groups="firm")
    np.testing.assert_allclose(ours.summary_frame(), theirs.summary_frame(), rtol=1e-6, atol=1e-9)
    a, b = short.influence().flips("z"), full.influence().flips("z")
    assert (a.count, a.total) == (b.count, b.total)
    assert a.pvalue_without == pytest.approx(b.pvalue_without, rel=1e-6)


@pytest.mark.parametrize("name", ["ols", "logit"])
def test_the_unit_of_sampling_weights_does_not_matter(name):
    kind, y = (tm.OLS, "y") if name == "ols" else MODELS[name]
    one, other = (
        kind.from_formula(y + FORMULA, DATA, sampling_weights=DATA.w * by).fit().influence() for by in (1, 1000)
    )
    np.testing.assert_allclose(one.summary_frame(), other.summary_frame(), rtol=1e-6, atol=1e-9)
    assert "HC1" in one.notes[-1]
    with pytest.raises(AttributeError, match="not under sampling_weights"):
        one.dffits  # noqa: B018


# ---- clusters


@pytest.mark.parametrize("given", ["name", "array", "Series", "shuffled Series"])
def test_clusters(given):
    groups = {"name": "firm", "array": DATA.firm.to_numpy(), "Series": DATA.firm, "shuffled Series": DATA.firm[::-1]}
    ours = tm.OLS.from_formula("y" + FORMULA, DATA).fit().influence(groups=groups[given])
    assert list(ours.leverage.index) == list(pd.unique(USED.firm))
    for firm in "afx":
        left = smf.ols("y" + FORMULA, USED[USED.firm != firm]).fit().params
        np.testing.assert_allclose(ours.params_without.loc[firm], left, rtol=1e-10)


@pytest.mark.parametrize("name", ["logit", "opaque, plain", "declarative"])
def test_clusters_of_single_rows_are_rows(name):
    results = fitted(name, DATA)
    rows, clusters = results.influence(), results.influence(groups=np.random.default_rng(1).permutation(len(DATA)))
    assert len(clusters.leverage) == len(USED)
    np.testing.assert_allclose(rows.summary_frame(), clusters.summary_frame(), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ["logit", "opaque", "opaque, plain"])
def test_blocks_do_not_matter(name, monkeypatch):
    results = fitted(name, DATA)
    wanted = [results.influence(groups=g).summary_frame() for g in (None, "firm")]
    monkeypatch.setattr(leftout, "BYTES", 8 * 9 * 5)
    for g, frame in zip((None, "firm"), wanted, strict=True):
        np.testing.assert_allclose(results.influence(groups=g).summary_frame(), frame, rtol=1e-9, atol=1e-13)


# ---- hard cases


@pytest.mark.parametrize("kind", ["OLS", "Probit", "NegativeBinomial"])
def test_differences_of_scores_are_the_hessians(kind, monkeypatch):
    """What is done where a likelihood's values carry no graph, on likelihoods that have one."""
    model = getattr(tm, kind).from_formula({"OLS": "y", "Probit": "b"}.get(kind, "c") + FORMULA, DATA)
    results = model.fit(method="newton")
    wanted = results.influence()
    monkeypatch.setattr(leftout, "PredictorObjective", type(None))
    exact = results.influence()
    monkeypatch.setattr(leftout, "row_hessians", lambda *_: None)
    ours = results.influence()
    np.testing.assert_allclose(exact.summary_frame(), wanted.summary_frame(), rtol=1e-8, atol=1e-12)
    # central differences by the cube root of the rounding unit: 1e-10 of a row's curvature
    np.testing.assert_allclose(ours.summary_frame(), wanted.summary_frame(), rtol=1e-6, atol=1e-8)


def test_persons_of_a_mixed_logit():
    """Its derivatives are its own, not autograd's: what the persons hold adds up to the information of all."""
    how = {"alternatives": "mode", "situations": "trip", "persons": "person", "random": {"time": "normal"}, "draws": 30}
    results = tm.MixedLogit.from_formula("chosen ~ time + cost", tm.datasets.load("trips"), **how).fit()
    ours = results.influence()
    assert len(ours.leverage) == 200
    assert ours.leverage.sum() == pytest.approx(len(results.names), rel=1e-6)
    assert (ours.cooks_distance > 0).all()


def test_rows_that_do_not_add_up(monkeypatch):
    results = fitted("opaque", DATA)

    def nothing(objective, at, rows):
        size = rows.stop - rows.start
        return torch.zeros(size, 3).double(), torch.zeros(size, 3, 3).double()

    monkeypatch.setattr(leftout, "row_hessians", nothing)
    with pytest.raises(AttributeError, match="do not add up"):
        results.influence()


@pytest.mark.parametrize("kind", [tm.OLS, tm.Poisson])
def test_a_row_with_a_parameter_to_itself(kind):
    data = USED.assign(one=(np.arange(len(USED)) == 5) * 1.0)
    y = "y" if kind is tm.OLS else "c"
    data.iloc[5, data.columns.get_loc("c")] = 3.0
    ours = kind.from_formula(y + FORMULA + " + one", data).fit().influence()
    assert ours.leverage.iloc[5] == pytest.approx(1, abs=1e-9)
    assert ours.params_without.iloc[5].isna().all()
    assert ours.params_without.drop(index=USED.index[5]).notna().all(axis=None)
    assert ours.notes[0].startswith("1 of 117 have NaN")
    assert ours.table.index[-1] == USED.index[5]
    if kind is tm.OLS:
        assert np.isnan(ours.sigma_without[5])


def test_ill_conditioned_columns():
    """Powers of a column far from zero (condition 1e6, solved by QR), against QR of the rows left."""
    t = np.linspace(2, 3, 60)
    X = np.column_stack([t**p for p in range(6)])
    y = np.sin(5 * t) + np.random.default_rng(3).normal(size=60) / 10
    results = quiet(tm.OLS(y, X).fit)
    assert results.fit.root is not None
    ours = results.influence()
    for i in (0, 20, 59):
        left = np.arange(60) != i
        Q, R = np.linalg.qr(X[left])
        wanted = np.linalg.solve(R, Q.T @ y[left])
        # both lose a condition of 1e6 of sixteen digits
        np.testing.assert_allclose(ours.params_without.iloc[i], wanted, rtol=1e-7)
    assert ours.leverage.sum() == pytest.approx(6, rel=1e-10)


def test_float32_and_the_users_torch_settings():
    wanted = tm.Logit.from_formula("inlf ~ educ + age", MROZ).fit().influence()
    single = tm.Logit.from_formula("inlf ~ educ + age", MROZ, dtype="float32").fit().influence()
    np.testing.assert_allclose(single.dfbetas, wanted.dfbetas, atol=2e-4)
    with torch.inference_mode():
        ours = OwnLogit.from_formula("inlf ~ educ + age", MROZ).fit().influence()
        assert ours.flips("educ", "significance").count > 0
    np.testing.assert_allclose(ours.dfbetas, wanted.dfbetas, rtol=1e-6, atol=1e-10)


def test_steps_outside_bounds_are_counted():
    free = tm.Logit.from_formula("b" + FORMULA, DATA).fit()
    low = free.params["x"] - 1e-3
    ours = tm.Logit.from_formula("b" + FORMULA, DATA).fit(bounds={"x": (low, None)}).influence()
    outside = int((free.influence().params_without["x"] < low).sum())
    assert outside > 10
    assert ours.notes == (
        f"{outside} of the steps end outside the bounds of the fit, where a refit stops at the bound.",
    )


# ---- what is refused


def logit(**how):
    return tm.Logit.from_formula("b" + FORMULA, DATA).fit(**how)


def loaded(tmp_path):
    logit().save(tmp_path / "fit")
    return tm.load(tmp_path / "fit")


REFUSED = {
    "no maximum": (lambda _: quiet(logit, maxiter=1).influence(), "need a maximum"),
    "at a bound": (lambda _: logit(bounds={"x": (None, 0)}).influence(), r"ran to a bound \(x\)"),
    "a sum": (lambda _: Sum.from_formula("y" + FORMULA, DATA).fit().influence(), "returns the sum only"),
    "without rows": (lambda path: loaded(path).influence(), "rows|data"),
    "no errors": (lambda _: quiet(tm.OLS(DATA.x[:2], sm.add_constant(DATA.z[:2])).fit).influence(), "perfect fit"),
    "groups too short": (lambda _: logit().influence(groups=np.arange(len(USED))), "117 rows"),
    "unknown column": (lambda _: logit().influence(groups="frim"), "firm"),
    "one cluster": (lambda _: logit().influence(groups=np.zeros(len(DATA))), "two"),
    "missing id": (lambda _: logit().influence(groups=DATA.firm.where(DATA.firm != "a")), "missing in"),
    "unknown parameter": (lambda _: logit().influence().flips("zz"), "'z'"),
    "unknown conclusion": (lambda _: logit().influence().flips("z", "signs"), "sign"),
    "level": (lambda _: logit().influence().flips("z", "significance", 5), "alpha=5"),
    "fixed": (lambda _: logit(fixed={"z": 0.1}).influence().flips("z"), "nothing could flip"),
    "natural": (lambda _: fitted("negative binomial", DATA).influence().flips("alpha"), "nothing could flip"),
    "dffits": (lambda _: logit().influence().dffits, "least squares in closed form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    call, said = REFUSED[name]
    with pytest.raises((tm.errors.TorchmleError, AttributeError), match=said):
        call(tmp_path)


# ---- flips


def small(seed, n=10):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n)}, index=[f"r{i}" for i in range(n)])
    data["y"] = 0.35 * data.x + 0.2 * data.z + rng.normal(size=n)
    data["g"] = np.arange(n) % 7
    return data


def fewest(data, flipped, units):
    """The size of the smallest set of units without which statsmodels' fit shows the other conclusion; 0 if none."""
    names = list(dict.fromkeys(units))
    for size in range(1, len(names) // 2 + 1):
        for out in itertools.combinations(names, size):
            left = data[~np.isin(units, out)]
            if flipped(smf.ols("y ~ x + z", left).fit()):
                return size
    return 0


@pytest.mark.parametrize("groups", [None, "g"])
@pytest.mark.parametrize("what", ["sign", "significance"])
def test_flips_against_all_subsets(what, groups):
    """The set found flips, as statsmodels finds; it is never smaller than the smallest, and mostly that small."""
    found = []
    for seed in range(9):
        data = small(seed)
        whole = smf.ols("y ~ x + z", data).fit()
        sign, significant = np.sign(whole.params["x"]), whole.pvalues["x"] < 0.2

        def flipped(fit, sign=sign, significant=significant):
            other = np.sign(fit.params["x"]) != sign if what == "sign" else (fit.pvalues["x"] < 0.2) != significant
            return bool(other)

        flip = tm.OLS.from_formula("y ~ x + z", data).fit().influence(groups=groups).flips("x", what, 0.2)
        units = data.index.to_numpy() if groups is None else data[groups].to_numpy()
        best = fewest(data, flipped, units)
        found.append((best, flip.count))
        if not flip.count:
            continue
        left = smf.ols("y ~ x + z", data[~np.isin(units, np.array(flip.rows))]).fit()
        assert flipped(left)
        assert (flip.estimate_without, flip.pvalue_without) == pytest.approx((left.params["x"], left.pvalues["x"]))
        assert flip.count >= best > 0
        assert flip.total == len(set(units))
        assert flip.share == flip.count / flip.total
    assert sum(a != b for a, b in found) <= 2, found


@pytest.mark.parametrize("cov", [{}, {"cov_type": "HC1"}, {"cov_type": "cluster", "cov_kwds": {"groups": "firm"}}])
def test_significance_is_that_of_the_errors_of_the_fit(cov):
    flip = tm.OLS.from_formula("y" + FORMULA, DATA).fit(**cov).influence().flips("z", "significance")
    left = USED.drop(index=list(flip.rows))
    theirs = {"cov_type": cov.get("cov_type", "nonrobust")}
    if "cov_kwds" in cov:
        theirs["cov_kwds"] = {"groups": left.firm}
    wanted = smf.ols("y" + FORMULA, left).fit(**theirs).pvalues["z"]
    assert flip.pvalue_without == pytest.approx(wanted, rel=1e-7)
    assert flip.pvalue < 0.05 < flip.pvalue_without


def test_the_refit_keeps_the_restrictions():
    flip = logit(constraints="x + z = 0.2").influence().flips("z")
    again = tm.Logit.from_formula("b" + FORMULA, DATA.drop(index=list(flip.rows))).fit(constraints="x + z = 0.2")
    assert flip.count > 0
    assert flip.estimate_without == pytest.approx(again.params["z"], rel=1e-7)


def test_a_point_that_is_no_maximum_flips_nothing():
    """Without the two rows that keep them apart the others are separated: there is no estimate of x, of either sign."""
    x = np.r_[np.linspace(-2, -0.5, 10), np.linspace(0.5, 2, 10), 1.0, -1.0]
    y = np.r_[np.ones(10), np.zeros(10), 1.0, 0.0]
    results = tm.Logit(y, sm.add_constant(pd.DataFrame({"x": x}))).fit()
    flip = results.influence().flips("x", "significance")
    assert results.pvalues["x"] < 0.05
    assert np.isnan(flip.estimate_without) or abs(flip.estimate_without) < 10


def test_nothing_of_the_users_changes():
    data = DATA.copy()
    results = tm.Logit.from_formula("b" + FORMULA, data, freq_weights="f").fit()
    before = results.params.copy(), results.model.endog.clone(), results.model.data.weights.values.clone()
    results.influence().flips("x", "significance")
    pd.testing.assert_frame_equal(data, DATA)
    pd.testing.assert_series_equal(results.params, before[0])
    assert torch.equal(results.model.endog, before[1])
    assert torch.equal(results.model.data.weights.values, before[2])
