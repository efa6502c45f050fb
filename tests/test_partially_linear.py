"""A module as part of a predictor: against a loop of plain torch, linear models, repeated rows, and known truth."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.func import functional_call

import torchmle as tm
from torchmle.testing import check_model

WAGE = tm.datasets.load("wage1")
MROZ = tm.datasets.load("mroz")
CRIME = tm.datasets.load("crime1")


class Normal(tm.LinearPredictorModel):
    """A normal response with a mean and a log standard deviation."""

    predictors = {"mu": "1", "log_sigma": tm.predictor("1", natural="sigma", transform=torch.exp)}

    def logdensity(self, y, mu, log_sigma):
        return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma

    def mean(self, mu, log_sigma):
        return mu


def tanh(inputs: int, hidden: int, seed: int = 0) -> nn.Module:
    """A small net without a bias at its end, drawn from a seed without touching the global one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))


def arrays(n: int = 200, seed: int = 0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"const": np.ones(n), "x": rng.normal(size=n)})
    Z = pd.DataFrame(rng.normal(size=(n, 2)) + 0.4 * X[["x"]].to_numpy(), columns=["z1", "z2"])
    mu = 0.5 + 0.8 * X.x + np.sin(1.5 * Z.z1) + 0.3 * Z.z2
    y = {"normal": mu + 0.5 * rng.normal(size=n), "logit": (mu + rng.logistic(size=n) > 0).astype(float)}
    y["poisson"] = rng.poisson(np.exp(0.5 * mu)).astype(float)
    return X, Z, y


# ---- against plain torch


DENSITIES = {
    "normal": lambda y, eta, s: -0.5 * ((y - eta) / s.exp()) ** 2 - s - 0.5 * math.log(2 * math.pi),
    "logit": lambda y, eta: y * eta - torch.nn.functional.softplus(eta),
    "poisson": lambda y, eta: y * eta - eta.exp() - torch.lgamma(y + 1),
}
MODELS = {"normal": Normal, "logit": tm.Logit, "poisson": tm.Poisson}


def plain_torch(kind, y, X, Z, nets, weights, theta):
    """The weighted log-likelihood, written down without any of the package."""
    K = X.shape[1]
    etas, at = [X @ theta[:K]], K
    if kind == "normal":
        etas.append(theta[at].expand(len(y)))
        at += 1
    for position, net in nets:
        named = {}
        for name, tensor in net.named_parameters():
            named[name] = theta[at : at + tensor.numel()].view(tensor.shape)
            at += tensor.numel()
        etas[position] = etas[position] + functional_call(net, named, (Z,)).squeeze(-1)
    assert at == len(theta)
    return weights @ DENSITIES[kind](y, *etas)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "parts"), [("normal", 1), ("normal", 2), ("logit", 1), ("poisson", 1)])
def test_value_score_and_hessian_are_those_of_plain_torch(kind, parts, weighted):
    X, Z, ys = arrays()
    names = ["mu", "log_sigma"][:parts] if kind == "normal" else ["eta"]
    nets = [(j, tanh(2, 3, seed=j).double()) for j in range(parts)]
    w = np.random.default_rng(1).integers(1, 4, len(X)) if weighted else np.ones(len(X))
    model = MODELS[kind](
        ys[kind],
        X,
        modules={name: tm.module(net, Z) for name, (_, net) in zip(names, nets, strict=True)},
        **({"freq_weights": w} if weighted else {}),
    )
    theta = torch.from_numpy(0.3 * np.random.default_rng(2).normal(size=len(model.param_names)))
    params = theta.clone()
    natural = kind == "normal" and parts == 1  # reported as sigma, and not as its logarithm
    if natural:
        params[2] = theta[2].exp()
    given = [torch.from_numpy(np.array(a, dtype=float)) for a in (ys[kind], X, Z)]

    def loglike(at):
        at = torch.cat([at[:2], at[2:3].log(), at[3:]]) if natural else at
        return plain_torch(kind, *given, nets, torch.from_numpy(w.astype(float)), at)

    score = torch.autograd.functional.jacobian(loglike, params)
    hessian = torch.autograd.functional.hessian(loglike, params)
    assert model.loglike(params) == pytest.approx(float(loglike(params)), rel=1e-12)
    np.testing.assert_allclose(model.score(params), score, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.hessian(params), hessian, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(model.score_obs(params).T @ w, score, rtol=1e-10, atol=1e-10)


# ---- a linear net is a linear model


def flat(inputs: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(inputs, 1, bias=False)


LINEAR = {
    "ols": (tm.OLS, "lwage ~ educ", "exper + tenure", WAGE, "mu"),
    "logit": (tm.Logit, "inlf ~ educ", "age + kidslt6", MROZ, "eta"),
    "poisson": (tm.Poisson, "narr86 ~ pcnv", "inc86 + ptime86", CRIME, "eta"),
}
COVARIANCES = [("nonrobust", {}), ("opg", {}), ("HC1", {}), ("cluster", {"groups": "g"})]


@pytest.mark.parametrize("case", LINEAR)
def test_a_linear_net_is_the_linear_model(case):
    cls, formula, inputs, data, predictor = LINEAR[case]
    data = data.assign(g=np.arange(len(data)) % 40)
    part = {predictor: tm.module(flat(2), inputs)}
    plain = cls.from_formula(f"{formula} + {inputs}", data).fit(method="newton")
    res = cls.from_formula(formula, data, modules=part).fit(method="newton")
    names = [n for n in plain.params.index if n in res.params.index]
    order = [*names, *[n for n in res.params.index if "_net:" in n]]
    theirs = [*names, *inputs.split(" + ")]
    assert res.converged
    np.testing.assert_allclose(res.params[order], plain.params[theirs], rtol=1e-8)
    assert res.llf == pytest.approx(plain.llf, rel=1e-12)
    for cov_type, kwds in COVARIANCES:
        reference = plain.with_cov(cov_type, kwds).bse
        found = res.with_cov(cov_type, {**kwds, "net": "all"}).bse
        np.testing.assert_allclose(found[order], reference[theirs], rtol=1e-7)
        default = res.with_cov(cov_type, kwds).bse
        np.testing.assert_allclose(default[names], reference[names], rtol=1e-7)
        assert default[order[len(names) :]].isna().all()


ASKED = {
    "score test": lambda r: r.score_test("female").statistic,
    "information matrix test": lambda r: r.information_matrix_test().statistic,
    "profile": lambda r: r.profile("educ").conf_int(),
    "pairs": lambda r: r.bootstrap(reps=8, seed=1).bse["educ"],
    "parametric": lambda r: r.bootstrap(kind="parametric", reps=6, seed=1).bse["educ"],
    "score bootstrap": lambda r: r.bootstrap(kind="score", reps=20, seed=1).bse["educ"],
    "HAC": lambda r: r.with_cov("HAC", {"maxlags": 3}).bse["educ"],
    "quantile residuals": lambda r: r.residuals("quantile"),
    "prediction": lambda r: r.get_prediction(WAGE.head(3)).summary_frame(),
    "margins": lambda r: r.margins().table.sort_values("variable").iloc[:, 1:].astype(float),
    "margins of a sample": lambda r: (
        r.with_cov("HC1").margins("exper", vce="unconditional").table["std err"].astype(float)
    ),
    "at means": lambda r: r.margins("tenure", kind="eyex", at="mean").table.estimate.astype(float),
    "permutation": lambda r: r.permutation_test("educ", reps=19, seed=1).pvalue,
    "delta method": lambda r: r.delta_method(lambda p: p["educ"] / p["sigma"]).table.astype(float),
}


@pytest.fixture(scope="module", params=[{}, {"freq_weights": "numdep"}, {"sampling_weights": "exper"}], ids=str)
def pair(request):
    """A regression with a linear net, and without."""
    part = tm.module(flat(2), "exper + tenure")
    a = tm.OLS.from_formula("lwage ~ educ", WAGE, modules={"mu": part}, **request.param)
    b = tm.OLS.from_formula("lwage ~ educ + exper + tenure", WAGE, **request.param)
    return a.fit(method="newton"), b.fit(method="newton")


@pytest.mark.parametrize("what", ASKED)
def test_what_is_made_of_results_is_that_of_the_linear_model(pair, what):
    answers = []
    for res in pair:
        try:
            answers.append(ASKED[what](res))
        except tm.TorchmleError as error:
            answers.append(type(error))
    if isinstance(answers[1], type):  # not defined under these weights
        assert answers[0] is answers[1]
    else:
        np.testing.assert_allclose(answers[0], answers[1], rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("cov_type", ["nonrobust", "opg", "HC0", "cluster"])
def test_errors_given_the_net_are_those_with_its_answers_as_an_offset(cov_type):
    data = WAGE.assign(g=np.arange(len(WAGE)) % 40)
    kwds = {"groups": "g"} if cov_type == "cluster" else {}
    res = Normal.from_formula("lwage ~ educ", data, modules={"mu": tm.module(flat(2), "exper + tenure")}).fit()
    answers = res.params.iloc[-2] * data.exper + res.params.iloc[-1] * data.tenure
    known = Normal.from_formula("lwage ~ educ", data, offset=answers).fit()
    found = res.with_cov(cov_type, {**kwds, "net": "given"})
    np.testing.assert_allclose(found.bse.iloc[:3], known.with_cov(cov_type, kwds).bse, rtol=1e-6)
    assert "given the weights of the net" in " ".join(str(found.summary()).split())
    assert found.bse.iloc[3:].isna().all()


# ---- rows, weights, names


def small(data=WAGE, seed=0, **given):
    part = tm.module(tanh(2, 2, seed), "exper + tenure", standardize=True)
    return Normal.from_formula("lwage ~ educ + female", data, modules={"mu": part}, **given)


@pytest.fixture(scope="module")
def wage():
    """A fit that ends at a maximum."""
    found = small().fit()
    assert found.converged
    return found


def test_names_and_what_a_summary_says(wage):
    assert list(wage.names[:6]) == [
        *("Intercept", "educ", "female", "sigma"),
        *("mu_net:0.weight[0,0]", "mu_net:0.weight[0,1]"),
    ]
    text = " ".join(str(wage.summary()).split())
    assert (
        "the estimation of the net's weights included; none for these, of which other values give the same net" in text
    )
    assert wage.bse.iloc[:4].notna().all()
    assert wage.bse.iloc[4:].isna().all()


def test_weights_of_a_larger_net_are_listed_by_tensor():
    net = tanh(2, 20)
    res = Normal.from_formula("lwage ~ educ", WAGE, modules={"mu": tm.module(net, "exper + tenure", standardize=True)})
    text = str(res.fit(maxiter=5).summary())
    assert "weight[" not in text
    assert "20 x 2" in text


def test_repeated_rows_are_counts():
    X, Z, y = arrays(120)
    counts = np.random.default_rng(3).integers(0, 4, len(X))
    again = np.repeat(np.arange(len(X)), counts)
    part = {"modules": {"eta": tm.module(tanh(2, 2), Z)}}
    start = {"start_params": 0.1 * np.ones(10)}
    weighted = tm.Poisson(y["poisson"], X, freq_weights=counts, **part).fit(**start)
    rows = {"modules": {"eta": tm.module(tanh(2, 2), Z.iloc[again].reset_index(drop=True))}}
    repeated = tm.Poisson(y["poisson"][again], X.iloc[again].reset_index(drop=True), **rows).fit(**start)
    assert weighted.status == repeated.status
    np.testing.assert_allclose(weighted.params.iloc[:2], repeated.params.iloc[:2], rtol=1e-5)
    for cov_type in ("nonrobust", "HC1"):
        np.testing.assert_allclose(
            weighted.with_cov(cov_type).bse.iloc[:2], repeated.with_cov(cov_type).bse.iloc[:2], rtol=1e-4
        )


def test_rows_that_lack_an_input_are_dropped_and_predicted_as_missing():
    data = WAGE.copy()
    data.loc[3, "tenure"] = np.nan
    data.loc[10, "educ"] = np.nan
    model = small(data)
    assert model.nobs == len(data) - 2
    clean = small(data.drop(index=[3, 10]))
    at = np.linspace(0.1, 0.3, len(model.param_names))
    assert model.loglike(at) == pytest.approx(clean.loglike(at), rel=1e-12)
    predicted = model.fit(maxiter=3).predict(data.head(12))
    assert list(predicted.index[predicted.isna()]) == [3, 10]
    with pytest.raises(tm.DataError, match="tenure"):
        small(data, missing="raise")
    X, Z, y = arrays(60)
    Z.iloc[5, 1] = np.nan
    assert Normal(y["normal"], X, modules={"mu": tm.module(tanh(2, 2), Z)}).nobs == 59
    with pytest.raises(tm.DataError, match="59 rows"):
        Normal(y["normal"], X, modules={"mu": tm.module(tanh(2, 2), Z.to_numpy()[1:])})


def test_standardised_inputs_are_those_that_one_standardises_oneself():
    Z = WAGE[["exper", "tenure"]]
    own = (Z - Z.mean()) / Z.std(ddof=0)
    model = Normal(WAGE.lwage, tm.add_constant(WAGE[["educ", "female"]]), modules={"mu": tm.module(tanh(2, 2), own)})
    at = np.linspace(0.1, 0.3, len(model.param_names))
    assert small().loglike(at) == pytest.approx(model.loglike(at), rel=1e-12)


def test_nothing_of_the_user_is_changed():
    net, state = tanh(2, 2).float(), torch.random.get_rng_state()
    before = copy.deepcopy(net.state_dict())
    data = WAGE.copy()
    model = Normal.from_formula(
        "lwage ~ educ", data, modules={"mu": tm.module(net, "exper + tenure", standardize=True)}
    )
    first = model.fit(maxiter=20)
    assert net.training
    assert net[0].weight.dtype == torch.float32
    assert net[0].weight.grad is None
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    pd.testing.assert_frame_equal(data, WAGE)
    again = model.fit(maxiter=20)
    assert first.params.equals(again.params)


# ---- predictions and effects


def by_hand(res, data):
    """The fitted mean, written down."""
    b, w = res.params.iloc[:3].to_numpy(), res.params.iloc[4:].to_numpy()
    Z = WAGE[["exper", "tenure"]]
    z = ((data[["exper", "tenure"]] - Z.mean()) / Z.std(ddof=0)).to_numpy()
    hidden = np.tanh(z @ w[:4].reshape(2, 2).T + w[4:6])
    return b[0] + data[["educ", "female"]].to_numpy() @ b[1:] + hidden @ w[6:]


def test_predictions_and_effects_of_inputs_are_those_by_hand(wage):
    new = WAGE.iloc[5:25]
    np.testing.assert_allclose(wage.predict(new), by_hand(wage, new), rtol=1e-12)
    h = 1e-5
    slope = by_hand(wage, WAGE.assign(exper=WAGE.exper + h)) - by_hand(wage, WAGE.assign(exper=WAGE.exper - h))
    found = wage.margins().table.set_index("variable")
    assert found.estimate["exper"] == pytest.approx(slope.mean() / (2 * h), rel=1e-7)
    assert found.estimate["educ"] == pytest.approx(wage.params["educ"], rel=1e-12)
    assert found["std err"]["educ"] == pytest.approx(wage.bse["educ"], rel=1e-9)


def test_errors_of_predictions_are_the_delta_method_over_all_parameters(wage):
    every, row = wage.with_cov("nonrobust", {"net": "all"}), WAGE.iloc[[7]]
    slopes = []
    for j in range(len(every.names)):
        ends = []
        for sign in (1, -1):
            moved = copy.copy(every.params)
            moved.iloc[j] += sign * 1e-6
            ends.append(by_hand(type("At", (), {"params": moved}), row)[0])
        slopes.append((ends[0] - ends[1]) / 2e-6)
    variance = np.array(slopes) @ every.cov_params().to_numpy() @ np.array(slopes)
    assert wage.get_prediction(row).se.iloc[0] == pytest.approx(math.sqrt(variance), rel=1e-4)


def test_given_the_net_there_is_no_error_of_what_depends_on_it(wage):
    given = wage.with_cov("HC1", {"net": "given"})
    table = given.margins().table.set_index("variable")
    assert table["std err"][["exper", "tenure"]].isna().all()
    assert table["std err"]["educ"] == pytest.approx(given.bse["educ"], rel=1e-9)
    assert given.get_prediction(WAGE.head(2)).se.isna().all()


def test_tests_speak_of_coefficients_only(wage):
    assert wage.wald_test("educ = 0").pvalue < 1e-10
    assert list(wage.wald_test_terms().index) == ["Intercept", "educ", "female"]
    with pytest.raises(tm.OptionError, match="weight of a module"):
        wage.wald_test(f"{wage.names[4]} = 0")
    with pytest.raises(tm.UndefinedStatisticError, match="weight of a module"):
        wage.delta_method(lambda p: p["educ"] * p[wage.names[4]])
    for ask in (lambda: wage.llr_pvalue, wage.influence, wage.compare_ols):
        with pytest.raises(tm.TorchmleError, match="module"):
            ask()


# ---- keeping


def test_a_file_is_read_with_the_net_of_the_fit(wage, tmp_path):
    with pytest.warns(tm.DataWarning, match="nets"):
        wage.save(tmp_path / "a")
    again = tm.load(tmp_path / "a", model=small(seed=5))  # another start of the same net
    np.testing.assert_array_equal(again.predict(WAGE.head(9)), wage.predict(WAGE.head(9)))
    assert str(again.summary()) == str(wage.summary())
    with pytest.raises(tm.StoreError, match="does not hold the module"):
        tm.load(tmp_path / "a", model=Normal)
    others = [tanh(2, 3), nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)), tanh(3, 2)]
    for net, inputs in zip(others, ("exper + tenure", "exper + tenure", "exper + tenure + married"), strict=True):
        part = tm.module(net, inputs, standardize=True)
        other = Normal.from_formula("lwage ~ educ + female", WAGE, modules={"mu": part})
        with pytest.raises(tm.StoreError, match="not that of the fit"):
            tm.load(tmp_path / "a", model=other)


def test_pickles_and_copies_have_their_net(wage):
    for again in (pickle.loads(pickle.dumps(wage)), copy.deepcopy(wage)):
        np.testing.assert_array_equal(again.predict(WAGE.head(5)), wage.predict(WAGE.head(5)))
        assert again.with_cov("HC0").bse.equals(wage.with_cov("HC0").bse)


def test_a_record_does_not_hold_the_net(wage):
    assert tm.replay(wage).params.equals(wage.params)
    with pytest.raises(tm.OptionError, match="module"):
        tm.replay(wage, WAGE)


# ---- where there is no maximum


def test_a_net_without_a_maximum_is_trained_and_its_linear_part_is_at_its_own():
    net = tanh(2, 5)
    part = tm.module(net, "exper + tenure", standardize=True)
    model = Normal.from_formula("lwage ~ educ + female", WAGE, modules={"mu": part})
    res = model.fit(maxiter=30)
    assert not res.converged
    assert res.status.startswith("trained")
    np.testing.assert_allclose(res.score.iloc[:4] * res.bse.iloc[:4], 0, atol=1e-5)
    answers = res.predict(WAGE) - res.params.iloc[0] - WAGE[["educ", "female"]] @ res.params.iloc[1:3]
    known = Normal.from_formula("lwage ~ educ + female", WAGE, offset=answers).fit()
    np.testing.assert_allclose(res.params.iloc[:4], known.params, atol=1e-6)
    given = res.with_cov("nonrobust", {"net": "given"})
    np.testing.assert_allclose(given.bse.iloc[:4], known.bse, rtol=1e-5)
    assert "given the weights of the net" in " ".join(str(given.summary()).split())
    assert "where the log-likelihood is curved in them" in " ".join(str(res.summary()).split())
    assert (res.bse.iloc[:4] >= given.bse.iloc[:4]).all()
    assert res.wald_test("educ = 0").pvalue < 1e-10
    every = res.with_cov("nonrobust", {"net": "all"})
    assert every.bse.iloc[4:].isna().all()
    assert "none for these, which are not shown to be at a maximum" in " ".join(str(every.summary()).split())
    with pytest.raises(tm.UndefinedStatisticError, match="maximum"):
        res.margins()


def test_a_unit_that_stands_twice_changes_no_error(wage):
    """Two units with the same weights: their difference moves nothing, and the errors are those of one unit."""
    net = tanh(2, 3)
    with torch.no_grad():
        for tensor, values in zip(net.parameters(), np.split(wage.params.iloc[4:].to_numpy(), [4, 6]), strict=True):
            given = torch.tensor(values).float()
            if tensor is net[0].weight:
                tensor.copy_(torch.cat([given.view(2, 2), given.view(2, 2)[1:]]))
            elif tensor is net[0].bias:
                tensor.copy_(torch.cat([given, given[1:]]))
            else:
                tensor.copy_(torch.cat([given[:1], given[1:] / 2, given[1:] / 2])[None])
    part = tm.module(net, "exper + tenure", standardize=True)
    model = Normal.from_formula("lwage ~ educ + female", WAGE, modules={"mu": part})
    res = model.fit(maxiter=0)
    assert res.status.startswith("trained")
    np.testing.assert_allclose(res.params.iloc[1:4], wage.params.iloc[1:4], rtol=1e-4)
    np.testing.assert_allclose(res.bse.iloc[1:4], wage.bse.iloc[1:4], rtol=1e-2)


def test_first_order_methods_train_in_batches():
    model = small()
    res = model.fit(method="adam", maxiter=3, batch_size=128, seed=1, options={"lr": 0.02})
    assert res.status.startswith(("trained", "converged"))
    assert res.params.equals(model.fit(method="adam", maxiter=3, batch_size=128, seed=1, options={"lr": 0.02}).params)


def test_weights_and_coefficients_are_fixed_by_name(wage):
    held = {"educ": 0.08, "mu_net:0.bias[0]": 0.25}
    res = small().fit(fixed=held, maxiter=100)
    assert {name: res.params[name] for name in held} == held
    assert res.llf <= wage.llf + 1e-6
    if res.converged:
        assert wage.lr_test(res).df == 2


def test_constraints_that_are_functions_hold_beside_a_net():
    part = tm.module(flat(2), "exper + tenure")
    model = Normal.from_formula("lwage ~ educ + female", WAGE, modules={"mu": part})
    plain = Normal.from_formula("lwage ~ educ + female + exper + tenure", WAGE)
    bound = ["educ * female = -0.02", "educ <= 0.07"]
    res, ref = model.fit(constraints=bound), plain.fit(constraints=bound)
    assert res.converged
    np.testing.assert_allclose(res.params.iloc[:3], ref.params.iloc[:3], rtol=1e-5)
    np.testing.assert_allclose(res.bse.iloc[:3], ref.bse.iloc[:3], rtol=1e-5, atol=1e-9)
    with pytest.raises(tm.OptionError, match="not defined under constraints"):
        res.with_cov("HC1", {"net": "given"})


def test_linear_constraints_and_bounds_hold_beside_a_net():
    part = tm.module(flat(2), "exper + tenure")
    model = Normal.from_formula("lwage ~ educ + female", WAGE, modules={"mu": part})
    plain = Normal.from_formula("lwage ~ educ + female + exper + tenure", WAGE)
    for given in ({"constraints": "educ = -0.3 * female"}, {"bounds": {"educ": (None, 0.05)}}):
        res, ref = model.fit(**given), plain.fit(**given)
        np.testing.assert_allclose(res.params.iloc[:3], ref.params.iloc[:3], rtol=1e-5)
        np.testing.assert_allclose(res.bse.iloc[:3], ref.bse.iloc[:3], rtol=1e-5)


# ---- what cannot be


ERRORS = [
    ({"nu": tm.module(flat(2), "exper + tenure")}, "predictor of Normal in modules.*mu"),
    ({"mu": flat(2)}, "make it with tm.module"),
    ([flat(2)], "must be a dict"),
    ({"mu": tm.module(nn.Linear(2, 1), "exper + tenure")}, "only their sum is identified"),
    ({"mu": tm.module(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)), "exper + tenure")}, "'2.bias'"),
    ({"mu": tm.module(nn.Linear(2, 2, bias=False), "exper + tenure")}, "one number a row"),
    ({"mu": tm.module(nn.Tanh(), "exper")}, "no weights to estimate"),
    ({"mu": tm.module(nn.Sequential(nn.Dropout(0.2), flat(2)), "exper + tenure")}, "dropout"),
    ({"mu": tm.module(nn.Sequential(nn.BatchNorm1d(2), flat(2)), "exper + tenure")}, "batch norm"),
    ({"mu": tm.module(flat(2), WAGE[["exper", "tenure"]])}, "give a formula of columns"),
    ({"mu": tm.module(flat(2), "exper + tenur")}, "tenur"),
    ({"mu": tm.module(tanh(2, 1001), "exper + tenure")}, "4004 weights"),
]


@pytest.mark.parametrize(("modules", "message"), ERRORS)
def test_what_cannot_be_says_so(modules, message):
    with pytest.raises(tm.TorchmleError, match=message):
        Normal.from_formula("lwage ~ educ", WAGE, modules=modules)


def test_a_bias_is_welcome_where_there_is_no_intercept():
    part = {"mu": tm.module(nn.Linear(2, 1), "exper + tenure")}
    res = Normal.from_formula("lwage ~ 0 + educ", WAGE, modules=part).fit()
    plain = Normal.from_formula("lwage ~ educ + exper + tenure", WAGE).fit()
    assert res.llf == pytest.approx(plain.llf, rel=1e-12)
    assert res.params["mu_net:bias"] == pytest.approx(plain.params["Intercept"], rel=1e-6)


def test_options_that_need_linear_predictors_are_refused(wage):
    for cov_type in ("HC2", "HC3", "CR2", "CRV3"):
        with pytest.raises(tm.OptionError, match="not defined for a predictor with a module"):
            wage.with_cov(cov_type)
    with pytest.raises(tm.OptionError, match="module"):
        wage.with_cov("nonrobust", {"information": "expected"})
    with pytest.raises(tm.OptionError, match="given"):
        wage.with_cov("HC1", {"net": "givn"})
    with pytest.raises(tm.OptionError, match="net"):
        small().fit(cov_type="nonrobust", cov_kwds={"nets": "all"})
    with pytest.raises(tm.OptionError, match="argument"):
        tm.Logit.from_formula("inlf ~ educ", MROZ, module={"eta": flat(2)})


# ---- known truth


@pytest.mark.parametrize("kind", ["normal", "logit"])
def test_coefficients_are_recovered_beside_a_curve(kind):
    """y = X b + sin(z) + e, x and z correlated: the mean of 16 estimates is b, and the errors are those that occur."""
    rng, found = np.random.default_rng(7), []
    n = 300
    for _ in range(16):
        z = rng.uniform(-2, 2, n)
        x = 0.7 * z + rng.normal(size=n)
        mu = 0.3 + 0.8 * x + 1.5 * np.sin(1.2 * z)
        y = mu + 0.5 * rng.normal(size=n) if kind == "normal" else (mu + rng.logistic(size=n) > 0).astype(float)
        cls, name = (Normal, "mu") if kind == "normal" else (tm.Logit, "eta")
        X = pd.DataFrame({"const": 1.0, "x": x})
        res = cls(y, X, modules={name: tm.module(tanh(1, 2, seed=2), z[:, None])}).fit(maxiter=60)
        found.append((res.params["x"], res.bse["x"]))
    estimates, errors = np.array(found).T
    assert abs(estimates.mean() - 0.8) < 4 * estimates.std() / math.sqrt(16)
    assert np.isfinite(errors).all()
    assert 0.6 < np.median(errors) / estimates.std() < 1.6  # the deviation of 16 draws is known to 18 %


def test_check_model():
    rng = np.random.default_rng(5)
    n = 400
    X = pd.DataFrame({"const": 1.0, "x": rng.normal(size=n)})
    z = rng.uniform(-2, 2, size=n)
    mean = 0.5 + 0.8 * X.x + 1.5 * np.tanh(2 * z + 0.5) - np.tanh(z - 1)
    y = mean + 0.3 * rng.normal(size=n)
    model = Normal(y.to_numpy(), X, modules={"mu": tm.module(tanh(1, 2, seed=4), pd.DataFrame({"z": z}))})
    truth = model.fit().params

    def simulate(theta, rng):
        link = torch.from_numpy(np.r_[theta[:2], np.log(theta[2]), theta[3:]])
        return model.predict_at(link, model.data, "mu").numpy() + theta[2] * rng.normal(size=n)

    report = check_model(model, simulate=simulate, params=truth)
    assert "weights of modules left out" in report["recovery"].detail
    assert {r.name for r in report.results if r.passed is None} == {"twin", "extreme"}
