"""Many replicates at once: an unchanged loglikeobs and declared models against fits of their own, bit by bit alike."""

import numpy as np
import pytest
import statsmodels.api as sm
import torch

import torchmle as tm
from torchmle.loglik.lifting_many import LiftedReplicates
from torchmle.loglik.looped import LoopedReplicates
from torchmle.loglik.replicates import PredictorReplicates
from torchmle.models import replicate

RNG = np.random.default_rng(4)
ROWS = 333  # no multiple of anything that processors work through
X = np.column_stack([np.ones(ROWS), RNG.standard_normal((ROWS, 3))])
Z = RNG.standard_normal((ROWS, 2))
ETA = X @ [0.2, 1.0, -0.5, 0.3]
BINARY = (ETA + np.exp(Z @ [0.3, -0.2]) * RNG.standard_normal(ROWS) > 0).astype(float)
AMOUNT = ETA + RNG.standard_normal(ROWS)
COUNT = RNG.poisson(np.exp(ETA / 2) * RNG.gamma(2, 0.5, ROWS)).astype(float)


def normal(y, mu, log_sigma):
    return tm.normal_logpdf((y - mu) * torch.exp(-log_sigma)) - log_sigma


class Own(tm.GenericLikelihoodModel):
    extra_params = ("log_sigma",)


class Single(Own):
    def loglikeobs(self, params):
        return normal(self.endog, self.exog @ params[:-1], params[-1])


class InPlace(Own):
    def loglikeobs(self, params):
        mu = self.exog @ params[:-1]
        mu.neg_().add_(self.endog)
        return tm.normal_logpdf(mu * torch.exp(-params[-1])) - params[-1]


class Twice(Own):
    """Uses a coefficient in two predictors, and by itself."""

    def loglikeobs(self, params):
        scale = params[-1] + 0.1 * (self.exog[:, :2] @ params[:2]) + 0.05 * params[1] ** 2
        return normal(self.endog, self.exog @ params[:4], scale)


class Curved(Own):
    """Multiplies data by a product of parameters, which is not a slice of them."""

    def loglikeobs(self, params):
        slopes = torch.cat([params[:3], params[1:2] * params[2:3] + params[3:4]])
        return normal(self.endog, self.exog @ slopes, params[-1])


class Unpacked(Own):
    def loglikeobs(self, params):
        *slopes, log_sigma = params
        return normal(self.endog, self.exog @ torch.stack(slopes), log_sigma)


class Branching(Own):
    def loglikeobs(self, params):
        return normal(self.endog, self.exog @ params[:-1], params[-1] if params[-1] > -9 else params[-1] * 0)


class Ranged(Own):
    transforms = {"log_sigma": "positive"}

    def loglikeobs(self, params):
        return normal(self.endog, self.exog @ params[:-1], torch.log(params[-1]))


class Het(tm.GenericLikelihoodModel):
    extra_params = ("z1", "z2")

    def loglikeobs(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params[:4]) * torch.exp(-(self.Z @ params[4:])))


class Plain(Het):
    lifting = False


class Declared(tm.LinearPredictorModel):
    predictors = {"mu": "1", "log_sigma": "0"}

    def logdensity(self, y, mu, log_sigma):
        return tm.log_ndtr((2 * y - 1) * mu * torch.exp(-log_sigma))


class Picking(tm.GenericLikelihoodModel):
    """Has an axis of alternatives: rows are repeated for each replicate."""

    def loglikeobs(self, params):
        utility = torch.stack([0 * self.endog, self.exog @ params], dim=1)
        return torch.log_softmax(utility, 1).gather(1, self.endog.long()[:, None])[:, 0]


class Masking(tm.GenericLikelihoodModel):
    def loglikeobs(self, params):
        eta, yes = self.exog @ params, self.endog > 0
        values = torch.zeros_like(eta)
        values[yes] = -torch.nn.functional.softplus(-eta[yes])
        values[~yes] = -torch.nn.functional.softplus(eta[~yes])
        return values


SCALE = {"row_data": {"Z": Z}}
OWN = {
    "single": (Single, AMOUNT, {}, {}, LiftedReplicates),
    "tied": (Single, AMOUNT, {}, {"constraints": "x1 + x2 = 0.4"}, LiftedReplicates),
    "fixed": (Single, AMOUNT, {}, {"fixed": {"log_sigma": 0.1}}, LiftedReplicates),
    "in place": (InPlace, AMOUNT, {}, {}, LiftedReplicates),
    "twice": (Twice, AMOUNT, {}, {}, LiftedReplicates),
    "curved": (Curved, AMOUNT, {}, {}, LoopedReplicates),
    "unpacked": (Unpacked, AMOUNT, {}, {}, LoopedReplicates),
    "branching": (Branching, AMOUNT, {}, {}, LoopedReplicates),
    "ranged": (Ranged, AMOUNT, {}, {}, LiftedReplicates),
    "own scale": (Het, BINARY, SCALE, {}, LiftedReplicates),
    "plain": (Plain, BINARY, SCALE, {}, LoopedReplicates),
    "picking": (Picking, BINARY, {}, {}, LiftedReplicates),
    "masking": (Masking, BINARY, {}, {}, LiftedReplicates),
    "declared": (Declared, BINARY, {"log_sigma": Z}, {}, PredictorReplicates),
    "counts": (tm.NegativeBinomial, COUNT, {}, {}, PredictorReplicates),
}  # fmt: skip


def fitted(case, **more):
    family, y, extras, options, kind = OWN[case]
    res = family(y, X, **extras, **more).fit(**options)
    assert type(replicate.replicated(res).replicates) is kind
    return res


@pytest.mark.parametrize("weights", [None, "freq_weights", "sampling_weights"])
@pytest.mark.parametrize("case", OWN)
def test_a_replicate_is_its_own_fit(case, weights):
    family, y, extras, options, _ = OWN[case]
    res = fitted(case, **({} if weights is None else {weights: 1 + np.arange(ROWS) % 3}))
    boot = res.bootstrap(3, "bayesian" if weights == "freq_weights" else "pairs", seed=2)
    assert (boot.failed, boot.alone) == (0, 0)
    for r in range(3):
        again = family(y, X, **extras, sampling_weights=boot.weights(r)).fit(**options)
        # both end within a scaled gradient of 1e-10 of the maximum
        assert np.allclose(boot.params.iloc[r], again.params, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", ["picking", "masking"])
def test_own_logits_have_the_replicates_of_statsmodels(case):
    boot = fitted(case).bootstrap(4, seed=3)
    for r in range(4):
        other = sm.GLM(BINARY, X, family=sm.families.Binomial(), freq_weights=boot.weights(r)).fit(tol=1e-14)
        assert np.allclose(boot.params.iloc[r], other.params, rtol=1e-8, atol=1e-9)


# values picked by a mask meet processors in places that depend on the company
@pytest.mark.parametrize("case", [case for case in OWN if case != "masking"])
def test_a_replicate_has_the_same_bits_in_any_company(case, monkeypatch):
    res = fitted(case)
    boot = res.bootstrap(11, seed=6)
    assert res.bootstrap(5, seed=6).params.equals(boot.params[:5])
    for together in (1, 7):
        monkeypatch.setattr(replicate, "TOGETHER", together)
        assert res.bootstrap(11, seed=6).params.equals(boot.params)


# ---- other responses


def draw(self, params, generator):
    return (self.exog @ params + torch.randn(len(self.exog), generator=generator, dtype=torch.float64) > 0).double()


class Probit(tm.GenericLikelihoodModel):
    simulate_endog = draw

    def loglikeobs(self, params):
        return tm.log_ndtr((2 * self.endog - 1) * (self.exog @ params))


class InColumns(Probit):
    def loglikeobs(self, params):
        return tm.log_ndtr(((2 * self.endog - 1)[:, None] * self.exog) @ params)


class Kept(Probit):
    """Makes signs of the response when it is built."""

    def __init__(self, endog, exog, factor=1, **more):
        super().__init__(endog, exog, **more)
        self.factor, self.sign = factor, factor * (2 * self.endog - 1)

    def loglikeobs(self, params):
        return tm.log_ndtr(self.sign * (self.exog @ params))


@pytest.mark.parametrize("family", [Probit, InColumns, Kept])
def test_another_response_changes_all_that_is_made_of_it(family):
    res = family(BINARY, X).fit()
    boot, drawn = res.bootstrap(3, "parametric", seed=8), res.simulate(n=3, seed=8)
    assert (boot.failed, boot.alone) == (0, 0)
    links = sm.families.Binomial(sm.families.links.Probit())
    for r in range(3):
        other = sm.GLM(drawn[r].to_numpy(), X, family=links).fit(tol=1e-14)
        assert np.allclose(boot.params.iloc[r], other.params, rtol=1e-8, atol=1e-9)


def test_what_cannot_be_made_again_is_named():
    res = Kept(BINARY, X, factor=2).fit()
    with pytest.raises(tm.TorchmleError, match="keeps 'sign'"):
        res.bootstrap(3, "parametric")
    assert res.bootstrap(3).failed == 0  # rows are drawn with what the model keeps of them


# ---- where a likelihood fails


class Fragile(Single):
    """Fails away from the estimates: in a replicate, and never in the fit."""

    limit = np.inf

    def loglikeobs(self, params):
        if bool((abs(params[1] - 1.0) > self.limit).any()):
            raise ValueError("too far away")
        return super().loglikeobs(params)


def test_a_failure_in_one_replicate_leaves_the_others():
    sound = Single(AMOUNT, X).fit().bootstrap(12, seed=1)
    model = Fragile(AMOUNT, X)
    res = model.fit()
    far = (sound.params["x1"] - 1.0).abs()
    model.limit = float(far.quantile(0.8)) + 1e-6
    with pytest.warns(tm.ConvergenceWarning, match="ValueError: too far away"):
        boot = res.bootstrap(12, seed=1)
    lost = boot.params.isna().any(axis=1)
    assert lost[far > model.limit].all()
    assert 0 < lost.sum() == len(boot.causes) < 8
    assert np.allclose(boot.params[~lost], sound.params[~lost], rtol=1e-8, atol=1e-8)
