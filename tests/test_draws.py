"""Draws of random coefficients: against scipy, numpy, exact arithmetic and known integrals."""

import json
import math
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, asdict, replace
from fractions import Fraction
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from scipy.stats import qmc

import torchmle as tm
from torchmle.errors import OptionError, SimulationWarning

SIMULATED = {
    "halton": tm.Draws("halton", 60, seed=4),
    "plain halton": tm.Draws("halton", 60, scramble=False),
    "shifted halton": tm.Draws("halton", 60, scramble="shift", seed=1),
    "leaped halton": tm.Draws("halton", 60, leap=409),
    "antithetic halton": tm.Draws("halton", 60, antithetic=True),
    "sobol": tm.Draws("sobol", 64, seed=4),
    "plain sobol": tm.Draws("sobol", 60, scramble=False),
    "mlhs": tm.Draws("mlhs", 60, seed=4),
    "random": tm.Draws("random", 60, seed=4),
    "antithetic random": tm.Draws("random", 60, antithetic=True),
}
SEEDED = [name for name, draws in SIMULATED.items() if "plain" not in name]
every = pytest.mark.parametrize("draws", SIMULATED.values(), ids=SIMULATED)
seeded = pytest.mark.parametrize("draws", [SIMULATED[name] for name in SEEDED], ids=SEEDED)


def radical_inverse(n, base):
    """Mirror the digits of n at the point, exactly."""
    found, weight = Fraction(0), Fraction(1, base)
    while n:
        n, digit = divmod(n, base)
        found, weight = found + digit * weight, weight / base
    return found


# --- The sequences, against others' ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "skip", "leap"), [(200, 100, 1), (1, 0, 1), (37, 10, 1), (50, 100, 409), (300_000, 0, 1)]
)
def test_plain_halton_is_scipys_from_its_second_element_on(number, skip, leap):
    persons = 300_000 // number if number > 1000 else 40
    ours = tm.Draws("halton", number, skip=skip, leap=leap, scramble=False).uniforms(range(persons), 5)
    theirs = qmc.Halton(5, scramble=False).random(skip + leap * persons * number + 1)[skip + 1 :: leap]
    theirs = theirs[: persons * number].reshape(persons, number, 5)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-16)  # the last digit: both add up to 20 terms


@pytest.mark.parametrize("person", [0, 3, 234, 99_999, 1_000_003])
def test_halton_has_the_layout_of_the_reference_cases(person):
    """u_q[i, r] = halton(prime_q, burn + i R + r + 1), in exact fractions; the normals by mpmath."""
    number, burn = 200, 100
    draws = tm.Draws("halton", number, skip=burn, scramble=False)
    exact = [[radical_inverse(burn + person * number + r + 1, p) for p in (2, 3, 5)] for r in range(number)]
    u, z = draws.uniforms([person], 3)[0], draws.normals([person], 3)[0]
    np.testing.assert_allclose(u, np.array(exact, dtype=float), rtol=0, atol=1e-15)
    for r in range(0, number, 40):
        normal = [float(mp.sqrt(2) * mp.erfinv(2 * mp.mpf(v.numerator) / v.denominator - 1)) for v in exact[r]]
        np.testing.assert_allclose(z[r], normal, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("number", [1, 60, 64, 200_000])
def test_plain_sobol_is_scipys_in_the_middle_of_its_cells(number):
    persons = 2 if number > 1000 else 50
    ours = tm.Draws("sobol", number, scramble=False).uniforms(range(persons), 6)
    with (
        pytest.warns(UserWarning, match="balance properties")
        if number * persons & (number * persons - 1)
        else nullcontext()
    ):
        theirs = qmc.Sobol(6, scramble=False, bits=30).random(persons * number)
    np.testing.assert_array_equal(ours, theirs.reshape(persons, number, 6) + 2.0**-31)


def test_scrambled_sobol_is_torchs():
    engine = torch.quasirandom.SobolEngine(4, scramble=True, seed=11)
    theirs = engine.draw(7 * 60, dtype=torch.float64).reshape(7, 60, 4)
    ours = tm.Draws("sobol", 60, seed=11).uniforms(range(7), 4)
    first, ours, theirs = ours[0, 0] - theirs[0, 0], ours.reshape(-1, 4)[1:], theirs.reshape(-1, 4)[1:]
    torch.testing.assert_close(ours, theirs + 2.0**-31, rtol=0, atol=0)
    assert first.abs().max() < 2.0**-24  # torch rounds the first point to float32


def test_random_draws_are_numpys_philox_keyed_by_seed_and_person():
    ours = tm.Draws("random", 30, seed=5).uniforms([7, 0, 12_345_678_901], 2)
    for person, found in zip([7, 0, 12_345_678_901], ours, strict=True):
        generator = np.random.Generator(np.random.Philox(key=np.array([5, person], dtype=np.uint64)))
        np.testing.assert_array_equal(found.T, generator.random((2, 30)))


def test_normals_are_accurate_in_the_tails_and_never_infinite():
    u = torch.tensor(
        [2.0**-53, 1e-12, 1e-5, 0.02, 0.3, 0.5 + 1e-9, 0.9, 1 - 2.0**-20, 1 - 2.0**-53], dtype=torch.float64
    )
    with mp.workdps(40):
        exact = [float(mp.sqrt(2) * mp.erfinv(2 * mp.mpf(v) - 1)) for v in u.tolist()]
    np.testing.assert_allclose(torch.special.ndtri(u), exact, rtol=5e-15)  # what `normals` applies to the uniforms


# --- What each kind promises, exactly --------------------------------------------------------------------


@pytest.mark.parametrize("scramble", [True, False])
@pytest.mark.parametrize(("dim", "base", "power"), [(0, 2, 9), (1, 3, 5), (2, 5, 3), (7, 19, 2)])
def test_any_run_of_halton_has_one_element_in_each_interval(scramble, dim, base, power):
    number = base**power
    u = tm.Draws("halton", number, skip=17, scramble=scramble).uniforms(range(50), dim + 1)[:, :, dim]
    cells = (u * number + (0 if scramble else 1e-9)).long().sort(1).values  # plain ones stand on the edges
    assert (cells == torch.arange(number)).all()


def test_scrambled_digits_are_permuted_each_by_a_permutation_of_its_own():
    plain, scrambled = (
        tm.Draws("halton", 7**4, skip=0, scramble=s).uniforms(range(3), 4)[:, :, 3].ravel() for s in (False, True)
    )
    seen = []
    for place in range(1, 4):
        before, after = (((u + 1e-12) * 7**place).long() % 7 for u in (plain, scrambled))
        pairs = set(zip(before.tolist(), after.tolist(), strict=True))
        assert len(pairs) == 7
        seen.append(tuple(b for _, b in sorted(pairs)))
    assert len(set(seen)) == 3


def test_a_shift_moves_all_persons_alike():
    plain = tm.Draws("halton", 50, scramble=False).uniforms(range(20), 3)
    shift = (tm.Draws("halton", 50, scramble="shift", seed=3).uniforms(range(20), 3) - plain) % 1
    assert (shift.amax((0, 1)) - shift.amin((0, 1)) < 1e-14).all()
    assert len(set(shift[0, 0].tolist())) == 3


def test_no_uniform_is_on_the_edge(monkeypatch):
    """Scrambled digits end in half a cell, and a sum that a shift makes 1 becomes the smallest number."""
    cells = tm.Draws("halton", 1000, seed=8).uniforms(range(20), 1) * 2.0**40
    assert (cells - cells.floor() == 0.5).all()
    monkeypatch.setattr("torchmle.loglik.draws.stream", lambda *key: SimpleNamespace(random=lambda: 0.5))
    shifted = tm.Draws("halton", 3, scramble="shift", skip=0).uniforms([0], 1).ravel()  # 1/2, 1/4, 3/4
    assert shifted.tolist() == [2.0**-53, 0.75, 0.25]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scrambled_sobol_stays_a_net_for_every_person(seed):
    """Each box of 2^-a by 2^-b, a + b = m, has one of 2^m points in the first two dimensions: t = 0."""
    m = 8
    u = tm.Draws("sobol", 2**m, seed=seed).uniforms([0, 1, 17, 3_000_000], 2)
    for a in range(m + 1):
        box = (u[:, :, 0] * 2**a).long() * 2 ** (m - a) + (u[:, :, 1] * 2 ** (m - a)).long()
        assert (box.sort(1).values == torch.arange(2**m)).all()


def test_mlhs_is_one_shifted_grid_a_dimension_in_random_order():
    number, persons, dims = 100, 400, 4
    u = tm.Draws("mlhs", number, seed=2).uniforms(range(persons), dims)
    place = (u * number).long()
    assert (place.sort(1).values == torch.arange(number)[:, None]).all()
    offset = u * number - place
    assert (offset.amax(1) - offset.amin(1)).max() < 1e-11
    assert scipy.stats.kstest(offset[:, 0].ravel(), "uniform").pvalue > 1e-3
    first = place[:, 0].ravel()  # where an order begins is uniform, and orders of two dimensions are unrelated
    assert scipy.stats.chisquare(np.bincount(first, minlength=number)).pvalue > 1e-3
    ranks = (place - (number - 1) / 2).double()
    correlation = (ranks[:, :, 0] * ranks[:, :, 1]).sum(1) / (ranks[:, :, 0] ** 2).sum(1)
    assert abs(correlation.mean()) < 4 / math.sqrt(number * persons)
    assert correlation.std().item() == pytest.approx(1 / math.sqrt(number - 1), rel=0.15)  # 4 errors of a sd of 400


def test_random_draws_are_uniform_and_unrelated():
    u = tm.Draws("random", 500, seed=9).uniforms(range(200), 3)
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    z = tm.Draws("random", 500, seed=9).normals(range(200), 3)
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    flat = z.permute(2, 0, 1).reshape(3, -1)
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 4 / math.sqrt(flat.shape[1])
    neighbours = (z[1:] * z[:-1]).mean()
    assert abs(neighbours) < 4 / math.sqrt(199 * 500 * 3)


@pytest.mark.parametrize("kind", ["random", "halton", "sobol", "mlhs"])
def test_antithetic_draws_are_pairs_with_mean_zero(kind):
    draws = tm.Draws(kind, 128, seed=3, antithetic=True)
    u, z = draws.uniforms(range(30), 4), draws.normals(range(30), 4)
    torch.testing.assert_close(u[:, 64:], 1 - u[:, :64], rtol=0, atol=0)
    assert z.mean(1).abs().max() < 1e-12
    half = replace(draws, number=64, antithetic=False)
    torch.testing.assert_close(u[:, :64], half.uniforms(range(30), 4), rtol=0, atol=0)


# --- Keyed by person -------------------------------------------------------------------------------------


@every
def test_a_person_has_the_same_draws_whoever_asks(draws):
    whole = draws.normals(range(300), 3)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.normals(order, 3), whole[order], rtol=0, atol=0)
    torch.testing.assert_close(
        torch.cat([draws.normals([i], 3) for i in (0, 7, 299)]), whole[[0, 7, 299]], rtol=0, atol=0
    )
    torch.testing.assert_close(draws.normals(range(40, 300, 13), 3), whole[40::13], rtol=0, atol=0)
    assert draws.normals(range(0), 3).shape == (0, draws.number, 3)
    assert not torch.equal(whole[0], whole[1])


@every
def test_uniforms_are_inside_the_interval_and_have_the_moments(draws):
    u, z = draws.uniforms(range(500), 3), draws.normals(range(500), 3)
    assert u.shape == (500, draws.points(3), 3)
    assert u.dtype == z.dtype == torch.float64
    assert u.min() > 0
    assert u.max() < 1
    assert z.isfinite().all()
    # 15,000 independent pairs at least: four standard errors of a mean, of a variance
    assert (u.mean((0, 1)) - 0.5).abs().max() < 4 / math.sqrt(12 * 15_000)
    assert (z.square().mean((0, 1)) - 1).abs().max() < 4 * math.sqrt(2 / 15_000)
    torch.testing.assert_close(torch.special.ndtr(z), u, rtol=1e-12, atol=1e-15)


@seeded
def test_seeds_differ_and_repeat(draws):
    other = replace(draws, seed=draws.seed + 1)
    assert not torch.isclose(draws.uniforms([5], 2), other.uniforms([5], 2)).any()
    torch.testing.assert_close(replace(draws).uniforms([5], 2), draws.uniforms([5], 2), rtol=0, atol=0)


@every
def test_nothing_global_is_touched(draws):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    draws.normals(range(3), 2)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@every
def test_draws_that_are_handed_out_can_be_changed(draws):
    before = draws.uniforms(range(4), 2).clone()
    draws.uniforms(range(4), 2).zero_()
    torch.testing.assert_close(draws.uniforms(range(4), 2), before, rtol=0, atol=0)


@every
def test_the_record_rebuilds_the_draws(draws):
    assert tm.Draws(**json.loads(json.dumps(asdict(draws)))) == draws
    assert eval(repr(draws), {"Draws": tm.Draws}) == draws


# --- Integrals that are known ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "gain"), [("random", 4), ("mlhs", 4), ("halton", 15), ("sobol", 25)])
def test_errors_of_an_integral_fall_with_the_number_of_draws(kind, gain):
    """E exp(a'z) = exp(a'a / 2); 64 times the draws: 8 times the accuracy if random, far more of a sequence."""
    a = torch.tensor([0.5, -0.4, 0.3], dtype=torch.float64)
    true = math.exp(float(a @ a) / 2)

    def error(number):
        draws = tm.Draws(kind, number, seed=1)
        weights = draws.log_weights(3)
        found = torch.logsumexp(draws.normals(range(60), 3) @ a + weights, 1).exp()
        return (found - true).square().mean().sqrt().item()

    assert error(4096) * gain < error(64)


@pytest.mark.parametrize("kind", ["halton", "sobol", "mlhs"])
def test_sequences_beat_pseudo_random_draws(kind):
    def error(draws):
        z = draws.normals(range(200), 4)
        values = torch.sigmoid(z @ torch.ones(4, dtype=torch.float64) + 1)
        exact = scipy.stats.norm.expect(lambda x: scipy.special.expit(1 + 2 * x))
        return (values.mean(1) - exact).square().mean().sqrt()

    assert error(tm.Draws(kind, 256)) < 0.7 * error(tm.Draws("random", 256))


@pytest.mark.parametrize("number", [1, 2, 7, 15, 40])
def test_gauss_hermite_integrates_polynomials_exactly(number):
    draws = tm.Draws("gauss_hermite", number)
    z, w = draws.normals(range(3), 2), draws.log_weights(2).exp()
    assert z.shape == (3, number**2, 2) == (3, draws.points(2), 2)
    assert w.sum().item() == pytest.approx(1, abs=1e-14)
    for i in range(0, min(2 * number, 16)):
        for j in (0, 1, 2, min(2 * number - 1, 9)):
            if j >= 2 * number:
                continue
            moment = math.prod(math.prod(range(k - 1, 0, -2)) if k % 2 == 0 else 0 for k in (i, j))
            scale = math.sqrt(math.prod(range(1, 2 * i, 2)) * math.prod(range(1, 2 * j, 2)))  # sd of the terms
            found = (w * z[1, :, 0] ** i * z[1, :, 1] ** j).sum().item()
            assert found == pytest.approx(moment, abs=1e-13 * scale)


@pytest.mark.parametrize(("draws", "dims"), [(tm.Draws("halton", 30), 3), (tm.Draws("random", 8), 1)])
def test_draws_weigh_the_same(draws, dims):
    torch.testing.assert_close(draws.log_weights(dims), torch.full((draws.number,), -math.log(draws.number)).double())


# --- Options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "halto"}, "Unknown kind of draws 'halto'. Did you mean 'halton'"),
        ({"kind": ["halton"]}, "Unknown kind of draws"),
        ({"kind": "random", "skip": 10}, "skip=10 does not belong to kind='random', only to halton"),
        ({"kind": "sobol", "leap": 3}, "leap=3 does not belong to kind='sobol', only to halton"),
        ({"kind": "mlhs", "scramble": True}, "scramble=True does not belong to kind='mlhs', only to halton and sobol"),
        ({"kind": "sobol", "scramble": "shift"}, "scramble of sobol is one of True, False, not 'shift'"),
        ({"scramble": 1}, "scramble of halton is one of True, False, 'shift', not 1"),
        ({"number": 0}, "number must be a whole number from 1 on, not 0"),
        ({"number": 2.5}, "number must be a whole number from 1 on, not 2.5"),
        ({"number": True}, "number must be a whole number"),
        ({"seed": -1}, "seed must be a whole number from 0 on, not -1"),
        ({"seed": None}, "seed must be a whole number from 0 on, not None"),
        ({"skip": -1}, "skip must be a whole number from 0 on"),
        ({"leap": 0}, "leap must be a whole number from 1 on"),
        ({"scramble": False, "seed": 3}, "seed=3 has no effect on halton with scramble=False"),
        ({"kind": "gauss_hermite", "seed": 3}, "seed=3 has no effect on gauss_hermite"),
        ({"kind": "gauss_hermite", "antithetic": True}, "antithetic has no effect on gauss_hermite"),
        ({"kind": "gauss_hermite", "number": 500}, "number=500 is the number of nodes a dimension"),
        ({"number": 501, "antithetic": True}, "number must be even, not 501"),
        ({"antithetic": "yes"}, "antithetic must be True or False, not 'yes'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message.replace("(", r"\(")):
        tm.Draws(**options)


@pytest.mark.parametrize(
    ("draws", "persons", "dims", "message"),
    [
        (tm.Draws("halton"), [-1], 2, "Persons are numbered from 0; -1 was asked for"),
        (tm.Draws("halton"), torch.tensor([0.5]), 2, "Persons are whole numbers in one dimension, not float32"),
        (tm.Draws("halton"), torch.zeros(2, 2, dtype=torch.int64), 2, r"of shape \(2, 2\)"),
        (tm.Draws("halton"), range(3), 0, "dims must be a whole number from 1 on, not 0"),
        (tm.Draws("halton", leap=9), range(3), 2, r"leap=9 is a multiple of one of the bases \(2, 3\)"),
        (
            tm.Draws("sobol", 1024),
            [2**20],
            2,
            "1,048,576 needs element 1,073,742,847 and there are 1,073,741,824",
        ),
        (tm.Draws("halton", 1000), [2**31], 2, "there are 1,099,511,627,776"),
        (tm.Draws("sobol"), range(3), 30_000, "Sobol sequences have at most 21201 dimensions, not 30000"),
        (tm.Draws("gauss_hermite"), range(3), 2, "integrates over normal coefficients only"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draws, persons, dims, message):
    with pytest.raises(OptionError, match=message):
        draws.uniforms(persons, dims)


def test_the_last_elements_of_a_sequence_are_drawn():
    last = tm.Draws("sobol", 1024, scramble=False).uniforms([2**20 - 1], 1)
    assert last[0, -1, 0] == 1.5 * 2.0**-30  # the Gray code of 2^30 - 1 is 2^29, mirrored 2^-30; half a cell is added
    assert tm.Draws("halton", 1024).normals([2**30 - 2], 3).isfinite().all()


def test_a_product_rule_too_large_is_refused():
    with pytest.raises(OptionError, match="30 nodes in 4 dimensions has 810,000 points; at most 100,000"):
        tm.Draws("gauss_hermite").log_weights(4)


def test_plain_halton_in_many_dimensions_warns_and_is_worse():
    plain, scrambled = tm.Draws("halton", 250, scramble=False), tm.Draws("halton", 250)
    plain.uniforms(range(2), 10)
    with pytest.warns(SimulationWarning, match=r"in 15 dimensions: beyond 10.*Use scramble=True"):
        worse = plain.normals(range(100), 15)
    better = scrambled.normals(range(100), 15)

    def correlation(z):
        z = (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True)
        each = torch.einsum("nri,nrj->nij", z, z) / 249
        return each.square().mean(0).sqrt().fill_diagonal_(0).max().item()

    assert correlation(worse) > 0.2 > 0.15 > correlation(better)  # pseudo-random: 0.063


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (tm.Draws(), "500 scrambled Halton draws a person, skip 100, seed 0"),
        (tm.Draws("halton", 200, scramble=False, skip=10), "200 Halton draws a person, skip 10"),
        (
            tm.Draws("halton", 50, leap=409, scramble="shift"),
            "50 shifted Halton draws a person, skip 100, leap 409, seed 0",
        ),
        (tm.Draws("sobol"), "512 scrambled Sobol draws a person, seed 0"),
        (tm.Draws("mlhs", seed=3), "500 MLHS draws a person, seed 3"),
        (tm.Draws("random", 10, antithetic=True), "10 antithetic pseudo-random draws a person, seed 0"),
        (tm.Draws("gauss_hermite"), "Gauss-Hermite quadrature, 30 nodes a dimension"),
    ],
)
def test_draws_say_what_they_are(draws, words):
    assert draws.describe() == words


def test_draws_are_frozen():
    with pytest.raises(FrozenInstanceError):
        tm.Draws().number = 3
