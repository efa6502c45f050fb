"""Choice data and designs: against R's estimates, loops written out, other layouts of a table, and errors."""

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchmle as tm
from torchmle.data.choice import choice_design, person_matrix

ROOT = Path(__file__).parent / "reference"
ALL = ("beach", "pier", "boat", "charter")


@functools.cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "data" / f"{name}.csv.gz")


def fishing(**options) -> tm.ChoiceData:
    varying = {"price": "price_{alt}", "catch": "catch_{alt}"}
    return tm.ChoiceData.from_wide(table("fishing"), choice="mode", varying=varying, **options)


def travelmode() -> tm.ChoiceData:
    layout = {"choice": "choice_d", "alternatives": "mode", "situations": "individual"}
    return tm.ChoiceData.from_long(table("travelmode"), **layout)


def train() -> tm.ChoiceData:
    frame = table("train")
    for side in "AB":  # euros and hours, as in the reference
        frame = frame.assign(
            **{f"price_{side}": frame[f"price_{side}"] / 100 * 2.20371, f"time_{side}": frame[f"time_{side}"] / 60}
        )
    varying = {name: f"{name}_{{alt}}" for name in ("price", "time", "change", "comfort")}
    return tm.ChoiceData.from_wide(frame, choice="choice", varying=varying, persons="id", situations="choiceid")


def swissmetro() -> tm.ChoiceData:
    frame = table("swissmetro")
    frame = frame[frame.PURPOSE.isin([1, 3]) & (frame.CHOICE != 0)]
    paid = (frame.GA == 0).astype(float)
    frame = frame.assign(
        mode=frame.CHOICE.map({1: "train", 2: "sm", 3: "car"}),
        train_cost=paid * frame.TRAIN_CO / 100, sm_cost=paid * frame.SM_CO / 100, car_cost=frame.CAR_CO / 100,
        train_time=frame.TRAIN_TT / 100, sm_time=frame.SM_TT / 100, car_time=frame.CAR_TT / 100,
        train_open=frame.TRAIN_AV * (frame.SP != 0), car_open=frame.CAR_AV * (frame.SP != 0),
    )  # fmt: skip
    return tm.ChoiceData.from_wide(
        frame,
        choice="mode",
        varying={"b_time": "{alt}_time", "b_cost": {a: f"{a}_cost" for a in ("train", "sm", "car")}},
        available={"train": "train_open", "car": "car_open", "sm": "SM_AV"},
    )


# Case of R's -> (data, formula, base, names there -> names here).
CASES = {
    "clogit_fishing": (fishing, "mode ~ price + catch | income", "beach", {}),
    "clogit_fishing_generic": (fishing, "mode ~ price + catch | 0", None, {}),
    "mnlogit_fishing_income": (
        fishing, "mode ~ 0 | income", None,
        {**{f"{a}:Intercept": f"asc_{a}" for a in ALL[1:]}, **{f"{a}:income": f"income:{a}" for a in ALL[1:]}},
    ),
    "clogit_travelmode": (travelmode, "choice_d ~ gcost + wait + hinc_air", "car", {}),
    "clogit_train": (train, "~ price + time + change + comfort | 0", None, {}),
    "clogit_swissmetro": (swissmetro, "~ b_time + b_cost", "sm", {}),
}  # fmt: skip


def loglike(design, params: torch.Tensor) -> torch.Tensor:
    V = design.X @ params
    if design.available is not None:
        V = V.masked_fill(~design.available, -torch.inf)
    return torch.log_softmax(V, 1).gather(1, design.chosen[:, None]).sum()


@pytest.mark.parametrize("case", CASES)
def test_the_estimates_of_r_are_the_maximum_here(case):
    make, formula, base, names = CASES[case]
    reference = json.loads((ROOT / "choice" / f"{case}.json").read_text())
    design = choice_design(formula, make(), base=base)
    known = {names.get(k, k): (v, reference["bse"][k]) for k, v in reference["params"].items()}
    assert set(design.names) == set(known)
    assert len(design.chosen) == reference["nobs"]
    params = torch.tensor([known[n][0] for n in design.names], dtype=torch.float64, requires_grad=True)
    llf = loglike(design, params)
    assert float(llf.detach()) == pytest.approx(reference["llf"], rel=1e-12)
    (score,) = torch.autograd.grad(llf, params)
    errors = torch.tensor([known[n][1] for n in design.names], dtype=torch.float64)
    # score x error is how many errors a parameter is from the maximum, roughly; R's are printed with 15 digits
    assert float((score * errors).abs().max()) < 1e-6


def test_names_stand_in_the_order_of_mlogit():
    assert choice_design("mode ~ price | income | catch", fishing()).names == (
        "asc_pier", "asc_boat", "asc_charter", "price", "income:pier", "income:boat", "income:charter",
        "catch:beach", "catch:pier", "catch:boat", "catch:charter",
    )  # fmt: skip


def unequal(seed: int, situations: int = 30, persons: int = 8) -> pd.DataFrame:
    """Make a long table with unequal choice sets, person and situation variables, in order."""
    rng = np.random.default_rng(seed)
    rows = []
    for s in range(situations):
        person = s % persons
        there = [a for a in "abcd" if rng.random() < 0.75] or ["a", "c"]
        there = there if len(there) > 1 else ["b", "d"]
        chosen = rng.integers(len(there))
        income, region = float(person) ** 2, "NSW"[person % 3]
        for j, a in enumerate(there):
            rows.append((f"s{s}", person, a, int(j == chosen), rng.normal(), rng.normal(), income, region, s % 7))
    columns = ["trip", "who", "mode", "chosen", "price", "time", "income", "region", "day"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(mode=pd.Categorical(frame["mode"], categories=list("abcd")))


LAYOUT = {"choice": "chosen", "alternatives": "mode", "situations": "trip"}


def by_hand(frame: pd.DataFrame, base: str) -> dict:
    """Return the rows of the formula below by loops, a dict by situation and alternative."""
    found = {}
    for _, row in frame.iterrows():
        cell = {"price": row.price, "price:income": row.price * row.income}
        for a in "abcd":
            own = float(row["mode"] == a)
            if a != base:
                cell[f"asc_{a}"] = own
                cell[f"income:{a}"] = own * row.income
                for level in "SW":
                    cell[f"C(region)[T.{level}]:{a}"] = own * (row.region == level)
            cell[f"time:{a}"] = own * row.time
        found[row.trip, row["mode"]] = cell
    return found


@pytest.mark.parametrize("base", ["a", "c"])
@pytest.mark.parametrize("persons", [None, "who"])
def test_a_design_is_what_loops_give(base, persons):
    frame = unequal(1)
    data = tm.ChoiceData.from_long(frame, persons=persons, **LAYOUT)
    design = choice_design("chosen ~ price + price:income | income + C(region) | time", data, base=base)
    cells = by_hand(frame, base)
    assert set(design.names) == set(next(iter(cells.values())))
    assert design.available is not None
    assert int(design.available.sum()) == len(cells)
    for s, label in enumerate(data.labels):
        for j, a in enumerate(data.alternatives):
            here = dict(zip(design.names, design.X[s, j].tolist(), strict=True))
            assert bool(design.available[s, j]) == ((label, a) in cells)
            assert here == cells.get((label, a), dict.fromkeys(design.names, 0.0))
        picked = frame[(frame.trip == label) & (frame.chosen == 1)].iloc[0]
        assert data.alternatives[int(design.chosen[s])] == picked["mode"]
        if persons:
            assert data.person_labels[int(design.person[s])] == picked.who
    assert bool((design.person.diff() >= 0).all())


@settings(deadline=None, derandomize=True, database=None, max_examples=40)
@given(seed=st.integers(0, 10_000), persons=st.booleans())
def test_shuffled_rows_change_nothing_but_the_order(seed, persons):
    frame = unequal(seed % 50, 25)
    shuffled = frame.sample(frac=1, random_state=seed)
    layout = {**LAYOUT, "persons": "who" if persons else None}
    formula = "chosen ~ price + C(day):price | income | time"
    first, second = (choice_design(formula, tm.ChoiceData.from_long(f, **layout), base="b") for f in (frame, shuffled))
    assert first.names == second.names
    at = first.data.labels.get_indexer(second.data.labels)
    assert sorted(at) == list(range(len(first.chosen)))
    assert torch.equal(first.X[at], second.X)
    assert torch.equal(first.chosen[at], second.chosen)
    assert torch.equal(first.available[at], second.available)
    who = first.data.person_labels[first.person.numpy()][at]
    assert who.equals(second.data.person_labels[second.person.numpy()])


def test_long_and_wide_tables_are_the_same_data():
    wide = table("fishing")
    parts = [
        wide[["mode", "income"]].assign(trip=wide.index, alt=a, price=wide[f"price_{a}"], catch=wide[f"catch_{a}"])
        for a in ALL
    ]
    long = pd.concat(parts).assign(chosen=lambda d: d["mode"] == d["alt"]).drop(columns="mode")
    long = tm.ChoiceData.from_long(long, choice="chosen", alternatives="alt", situations="trip")
    one = choice_design("~ price | income | catch", fishing())
    two = choice_design("chosen ~ price | income | catch", long)
    assert one.names == two.names
    assert torch.equal(one.X, two.X)
    assert torch.equal(one.chosen, two.chosen)


def test_availability_in_a_column_is_as_rows_left_out():
    frame = unequal(3)
    full = pd.MultiIndex.from_product([frame.trip.unique(), list("abcd")], names=["trip", "mode"]).to_frame(index=False)
    full = full.merge(frame, how="left", on=["trip", "mode"])
    full = full.assign(open=full.chosen.notna(), chosen=full.chosen.fillna(0.0), mode=pd.Categorical(full["mode"]))
    one = choice_design("chosen ~ price | 1 | time", tm.ChoiceData.from_long(frame, **LAYOUT))
    two = choice_design("chosen ~ price | 1 | time", tm.ChoiceData.from_long(full, available="open", **LAYOUT))
    assert torch.equal(one.X, two.X)
    assert torch.equal(one.available, two.available)


def test_numbers_of_situations_may_start_again_with_each_person():
    data = train()
    assert len(data) == 2929
    assert data.labels[0] == (1, 1)
    assert len(data.person_labels) == table("train").id.nunique()
    assert np.array_equal(np.bincount(data.person), table("train").groupby("id", sort=False).size())


def test_rows_without_ids_must_be_whole_blocks():
    frame = table("travelmode")
    layout = {"choice": "choice_d", "alternatives": "mode"}
    blocks = choice_design("~ gcost", tm.ChoiceData.from_long(frame, **layout))
    assert torch.equal(blocks.X, choice_design("~ gcost", travelmode()).X)
    for wrong in (frame.iloc[1:], frame.iloc[::-1].iloc[:-1], frame.sample(frac=1, random_state=1)):
        with pytest.raises(tm.DataError, match=r"blocks that hold each of the 4 alternatives once.*situations="):
            tm.ChoiceData.from_long(wrong, **layout)


def test_the_users_table_is_not_changed():
    frame = unequal(0).sample(frac=1, random_state=0)
    before = frame.copy(deep=True)
    data = tm.ChoiceData.from_long(frame, **LAYOUT)
    choice_design("chosen ~ price | income", data)
    data.with_columns(price=lambda d: d.price * 2).without("a")
    data.adding("e", like="b", price=0.0)
    pd.testing.assert_frame_equal(frame, before)
    kept = data.frame.copy(deep=True)
    frame["price"] = 0.0
    frame.loc[:, "time"] = 0.0
    pd.testing.assert_frame_equal(data.frame, kept)


def trips(**changes) -> pd.DataFrame:
    """Return three trips by two modes, with some columns or single values changed."""
    frame = pd.DataFrame({
        "trip": [1, 1, 2, 2, 3, 3], "mode": ["bus", "car"] * 3, "chosen": [1.0, 0, 0, 1, 1, 0],
        "who": [1, 1, 1, 1, 2, 2], "price": [1.0, 2, 3, 1, 2, 5], "open": [1.0] * 6,
        "age": [30.0] * 4 + [50.0] * 2, "name": list("xxxxyy"),
    })  # fmt: skip
    for column, values in changes.items():
        if isinstance(values, dict):
            for row, value in values.items():
                frame.loc[row, column] = value
        else:
            frame[column] = values
    return frame


@pytest.mark.parametrize(("changes", "count", "what"), [
    ({"chosen": {0: 0}}, 1, "without a chosen alternative"),
    ({"chosen": {0: 0, 3: 0}}, 2, "without a chosen alternative"),
    ({"chosen": {1: 1}}, 1, "with two or more chosen alternatives"),
    ({"mode": {1: "bus"}}, 1, "with an alternative in two rows"),
    ({"open": {0: 0}}, 1, "whose chosen alternative is not available"),
    ({"open": {0: 0, 1: 0}, "chosen": {0: 0}}, 1, "without an available alternative"),
])  # fmt: skip
def test_contradictory_situations_are_counted_or_dropped(changes, count, what):
    frame = trips(**changes)
    with pytest.raises(tm.DataError, match=rf"Of 3 choice situations there are.*{count} {what} \(e\.g\. 1"):
        tm.ChoiceData.from_long(frame, available="open", **LAYOUT)
    data = tm.ChoiceData.from_long(frame, available="open", invalid="drop", **LAYOUT)
    assert len(data) == 3 - count
    assert sum(data.dropped.values()) == count
    assert str(count) in str(data.report())


@pytest.mark.parametrize(("column", "layout"), [
    ("mode", {}), ("chosen", {}), ("open", {"available": "open"}), ("price", {}), ("age", {}),
])  # fmt: skip
def test_a_missing_value_takes_the_whole_situation(column, layout):
    frame = trips(**{column: {3: None}})
    formula = "chosen ~ price + price:age | 0"
    data = tm.ChoiceData.from_long(frame, **LAYOUT, **layout)
    design = choice_design(formula, data)
    gone = tm.ChoiceData.from_long(frame[frame.trip != 2], **LAYOUT, **layout)
    assert torch.equal(design.X, choice_design(formula, gone).X)
    assert design.data.labels.tolist() == [1, 3]
    assert dict(design.data.dropped) == {f"{column} missing": 1}
    with pytest.raises(tm.DataError, match=r"missing='raise'"):
        choice_design(formula, tm.ChoiceData.from_long(frame, missing="raise", **LAYOUT, **layout))


def test_a_missing_value_of_what_was_not_available_costs_nothing():
    frame = trips(open={1: 0}, price={1: None})
    data = tm.ChoiceData.from_long(frame, available="open", **LAYOUT)
    design = choice_design("chosen ~ price | 0", data)
    assert len(design.chosen) == 3
    assert design.X[0].flatten().tolist() == [1.0, 0.0]


def test_a_term_that_is_no_number_takes_the_situation_with_a_warning():
    frame = trips(price={3: -1.0})
    with pytest.warns(tm.DataWarning, match=r"1 choice situations were dropped.*np.log\(price\) is not a number"):
        design = choice_design("~ np.log(price) | 0", tm.ChoiceData.from_long(frame, **LAYOUT), context={"np": np})
    assert design.data.labels.tolist() == [1, 3]
    assert design.X[:, :, 0].tolist() == pytest.approx(np.log([[1, 2], [2, 5]]))


WIDE = {
    "mode": ["bus", "car", "car"], "price_bus": [1.0, 2, 3], "price_car": [2.0, 2, 2], "age": [1, 2, 3],
    "id": [1, 1, 2],
}  # fmt: skip


def wide(**options) -> tm.ChoiceData:
    given = {"choice": "mode", "varying": {"price": "price_{alt}"}, **options}
    return tm.ChoiceData.from_wide(pd.DataFrame(WIDE), **given)


LONG_ERRORS = [
    ({"choice": "chose"}, {}, r"'chose'.*Did you mean 'chosen'"),
    ({"situations": "tripp"}, {}, r"'tripp'.*Did you mean 'trip'"),
    ({}, {"chosen": [2, 0, 0, 1, 1, 0]}, r"must be True or False, or 1 or 0.*2\.0"),
    ({}, {"chosen": ["yes", "no"] * 3}, r"holds text"),
    ({}, {"trip": [1, 1, 2, 2, None, 3]}, r"'trip' is missing in 1 of 6 rows"),
    ({"persons": "who"}, {"who": [1, 1, 1, 1, 2, None]}, r"'who' is missing in 1 of 6 rows"),
    ({"persons": "who"}, {"who": [1, 2, 1, 1, 2, 2]}, r"Of 4 choice situations there are 1 without a chosen"),
    ({}, {"trip": range(6), "chosen": 1}, r"All 6 choice situations have one available alternative"),
    ({}, {"mode": [1, "1"] * 3}, r"different labels that read the same"),
    ({"missing": "fill"}, {}, r"Unknown missing 'fill'"),
    ({"invalid": "no"}, {}, r"Unknown invalid 'no'"),
]
WIDE_ERRORS = [
    ({"varying": {"price": "cost_{alt}"}}, r"List the alternatives"),
    ({"varying": {"price": "prices_{alt}"}, "alternatives": ["bus", "car"]}, r"'prices_bus'.*Did you mean 'price_bus'"),
    ({"varying": {"price": "price"}}, r"must be a pattern with \{alt\}"),
    ({"varying": "price"}, r"varying is 'price'"),
    ({"varying": {"price": {"bus": "price_bus"}}}, r"only alternative is 'bus'; a choice needs two"),
    ({"varying": {"price": {"bus": "price_bus", "kar": "price_car"}}}, r"'car' in 2 rows, which is none of"),
    ({"varying": {"price": {"bus": "price_bus"}}, "alternatives": ["bus", "car"]}, r"says nothing of 'car'"),
    ({"varying": {"price": {"bus": "price_bus", "car": "price_car", "bike": 0}}, "alternatives": ["bus", "car"]},
     r"Unknown alternative 'bike'"),
    ({"varying": {"old": {"bus": "age", "car": "age"}}}, r"names 'age' for every alternative.*does not vary"),
    ({"varying": {"who": {"bus": "id", "car": "age"}}, "persons": "id"}, r"'id', which belongs to the whole situation"),
    ({"varying": {"age": "price_{alt}"}}, r"makes a column 'age', which the data have already"),
    ({"alternatives": "bus"}, r"must list two or more different labels"),
    ({"choice": None}, r"list the alternatives"),
    ({"situations": "id"}, r"names 1 situations more than once.*from_long"),
    ({"available": {"tram": "age"}}, r"Unknown alternative 'tram'"),
    ({"available": {"bus": "age"}}, r"must be True or False, or 1 or 0"),
    ({"choice": "id"}, r"by which there is no column|is never"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "changes", "message"), LONG_ERRORS)
def test_a_long_table_that_cannot_be_read_is_an_error(layout, changes, message):
    with pytest.raises(tm.TorchmleError, match=message):
        tm.ChoiceData.from_long(trips(**changes), **{**LAYOUT, **layout})


@pytest.mark.parametrize(("options", "message"), WIDE_ERRORS)
def test_a_wide_table_that_cannot_be_read_is_an_error(options, message):
    with pytest.raises(tm.TorchmleError, match=message):
        wide(**options)


def test_a_column_that_no_choice_speaks_of_is_not_guessed_to_be_an_alternative():
    frame = pd.DataFrame({**WIDE, "price_index": 1.0})
    with pytest.raises(tm.DataError, match=r"is never 'index'.*alternatives=\['bus', 'car'\]"):
        tm.ChoiceData.from_wide(frame, choice="mode", varying={"price": "price_{alt}"})
    given = {"choice": "mode", "varying": {"price": "price_{alt}"}}
    assert tm.ChoiceData.from_wide(frame, alternatives=["bus", "car"], **given).alternatives == ("bus", "car")


def test_numbers_and_whole_floats_are_labels():
    frame = pd.DataFrame({"y": [1.0, 2.0, np.nan], "x1": [0.0, 1, 2], "x2": [1.0, 1, 1]})
    data = tm.ChoiceData.from_wide(frame, choice="y", varying={"x": "x{alt}", "one": {1: 1, 2: 0}})
    assert data.alternatives == (1, 2)
    assert data.chosen.tolist() == [0, 1]
    assert dict(data.dropped) == {"y missing": 1}
    assert data.frame.one.tolist() == [1, 0, 1, 0]
    assert choice_design("y ~ x", data).names == ("asc_2", "x")


FORMULA_ERRORS = [
    ("mode ~ price + income", r"'income' never varies within a choice situation.*second part"),
    ("mode ~ catch | price", r"'price' differs between the rows of 1182 choice situations.*first part"),
    ("mode ~ price | income | catch | 1", r"4 parts; three are allowed"),
    ("mode ~ prise", r"'prise'.*Did you mean 'price'"),
    ("price ~ catch", r"Unknown choice 'price'"),
    ("mode ~ 0 | 0", r"has no term"),
    ("mode ~ price | income | income", r"Two coefficients would be called 'income:boat', 'income:charter'"),
    ("mode ~ price.shift(1)", r"looks at other rows"),
    ("mode ~ lag(price)", r"looks at other rows"),
    ("mode ~ price + C(mode)", r"'mode' is the choice and also stands on the right"),
    ("mode ~ np.log(price - price)", r"infinite in 4728 of 4728 rows"),
    ("mode ~ outside", r"'outside', which is an array and no column"),
]


@pytest.mark.parametrize(("formula", "message"), FORMULA_ERRORS)
def test_a_formula_that_cannot_be_is_an_error(formula, message):
    with pytest.raises(tm.DataError, match=message):
        choice_design(formula, fishing(), context={"np": np, "outside": np.ones(4728)})


@pytest.mark.parametrize("collinear", ["drop", "raise"])
@pytest.mark.parametrize(("formula", "dropped"), [
    ("mode ~ price + I(2 * price + income) | 0", "I(2 * price + income)"),
    ("mode ~ price | 1 | price", "price:charter"),
    ("mode ~ C(alternative) | 1", "C(alternative)[T.charter]"),
])  # fmt: skip
def test_what_differences_do_not_tell_apart_is_dropped_and_named(formula, dropped, collinear):
    if collinear == "raise":
        with pytest.raises(tm.DataError, match="Collinear columns: within situations"):
            choice_design(formula, fishing(), collinear="raise")
        return
    with pytest.warns(tm.CollinearityWarning, match="exact linear combination"):
        design = choice_design(formula, fishing())
    assert dropped in design.dropped
    full = design.X - design.X[:, :1]
    assert int(torch.linalg.matrix_rank(full.flatten(0, 1))) == len(design.names)
    again = design.again(fishing())
    assert again.names == design.names
    assert torch.equal(again.X, design.X)


@pytest.mark.parametrize(("formula", "base", "message"), [
    ("mode ~ price", None, r"'boat' is never chosen.*asc_boat.*without\('boat'\)"),
    ("mode ~ price", "boat", r"'boat' is never chosen.*asc_beach, asc_pier, asc_charter"),
    ("mode ~ 0 | 0 + income", None, r"never chosen.*income:boat"),
    ("mode ~ 0 | 0 | price", None, r"never chosen.*price:boat"),
    ("mode ~ price | 0", None, None),
    ("mode ~ 0 | 0 | I(price - 20)", None, None),
])  # fmt: skip
def test_an_alternative_that_is_never_chosen(formula, base, message):
    frame = table("fishing")
    varying = {"price": "price_{alt}", "catch": "catch_{alt}"}
    data = tm.ChoiceData.from_wide(frame[frame["mode"] != "boat"], choice="mode", varying=varying, alternatives=ALL)
    assert data.report().never_chosen == ("boat",)
    if message is None:  # generic coefficients, and variables of both signs, have a finite estimate
        assert choice_design(formula, data, base=base).X.shape[1] == 4
        return
    with pytest.raises(tm.DataError, match=message):
        choice_design(formula, data, base=base)
    choice_design(formula, data.without("boat").decided())


def test_an_alternative_chosen_wherever_it_is_available():
    frame = trips()
    frame = frame[~((frame["mode"] == "car") & (frame.chosen == 0))].assign(extra=1)
    more = frame.assign(mode="tram", chosen=0).drop_duplicates("trip")
    data = tm.ChoiceData.from_long(pd.concat([frame, more]), **LAYOUT)
    with pytest.raises(tm.DataError, match=r"'car' is chosen in all 1 situations"):
        choice_design("chosen ~ 0", data, base="bus")


def test_one_alternative_only_says_nothing():
    frame = trips().drop(index=5)
    data = tm.ChoiceData.from_long(frame, **LAYOUT)
    assert data.report().single == 1
    design = choice_design("chosen ~ price | 0", data)
    params = torch.tensor([-0.7], dtype=torch.float64)
    two = choice_design("chosen ~ price | 0", data.select(np.array([True, True, False])))
    assert float(loglike(design, params)) == pytest.approx(float(loglike(two, params)), rel=1e-15)


def test_the_report_counts():
    report = travelmode().report()
    frame = table("travelmode")
    chosen = frame[frame.choice_d == 1]["mode"].value_counts()
    for a in ("air", "train", "bus", "car"):
        assert report.table.loc[a].tolist() == [210, chosen[a], pytest.approx(chosen[a] / 210, rel=1e-15)]
    assert report.situations == 210
    assert report.by_situation == ("income", "size")
    panel = train().report()
    sizes = table("train").groupby("id").size()
    assert panel.persons == 235
    assert panel.per_person == (sizes.min(), sizes.mean(), sizes.max())
    report = tm.ChoiceData.from_long(trips(flat=1), persons="who", **LAYOUT).report()
    assert (report.constant, report.by_person) == (("open", "flat"), ("age", "name"))
    for word in ("Persons: 2", "flat", "age", "bus"):
        assert word in str(report)


def test_a_price_is_changed_for_a_counterfactual():
    data = fishing()
    design = choice_design("mode ~ price + catch | income", data)
    dearer = design.again(data.with_columns(price=lambda d: d.price * 1.2))
    k = design.names.index("price")
    expected = design.X.clone()
    expected[:, :, k] *= 1.2
    torch.testing.assert_close(dearer.X, expected, rtol=1e-15, atol=0)
    frame = data.frame
    assert (data.with_columns(price=5).frame.price == 5).all()
    assert data.with_columns(extra=np.arange(4728)).frame.extra.tolist() == list(range(4728))
    by_row = pd.Series(np.arange(1182.0), index=pd.RangeIndex(1182)).sample(frac=1, random_state=0)
    assert data.with_columns(extra=by_row).frame.extra.tolist() == frame.index.tolist()
    with pytest.raises(tm.OptionError, match="who chose what"):
        data.with_columns(mode="pier")
    with pytest.raises(tm.DataError, match=r"has 3 values; the frame has 4728 rows"):
        data.with_columns(price=[1, 2, 3])


def test_an_alternative_is_taken_out():
    data = fishing()
    design = choice_design("mode ~ price | income | catch", data)
    less = data.without("pier")
    again = design.again(less)
    assert less.alternatives == ("beach", "boat", "charter")
    assert torch.equal(again.X, design.X[:, [0, 2, 3]])
    assert (less.chosen == -1).sum() == (table("fishing")["mode"] == "pier").sum()
    assert less.decided().given == 1182
    assert len(less.decided()) == (table("fishing")["mode"] != "pier").sum()
    labels = np.array(less.decided().alternatives)[less.decided().chosen]
    assert labels.tolist() == [m for m in table("fishing")["mode"] if m != "pier"]
    with pytest.raises(tm.DataError, match=r"Unknown alternative 'peer'. Did you mean 'pier'"):
        data.without("peer")
    with pytest.raises(tm.DataError, match="No choice situation is left"):
        data.without(*ALL)


def test_an_alternative_is_added():
    data = fishing()
    more = data.adding("raft", like="boat", price=lambda d: d.price / 2)
    assert more.alternatives == (*ALL, "raft")
    assert (more.chosen == -1).all()
    design = choice_design("mode ~ price + catch | 0", data)
    X = design.again(more).X
    assert torch.equal(X[:, :4], design.X)
    assert torch.equal(X[:, 4], design.X[:, 2] * torch.tensor([0.5, 1.0], dtype=torch.float64))
    assert more.frame.alternative.tolist()[:5] == [*ALL, "raft"]
    with pytest.raises(tm.DataError, match=r"did not know: 'raft'.*asc_pier"):
        choice_design("mode ~ price", data).again(more)
    with pytest.raises(tm.OptionError, match="already"):
        data.adding("pier", like="boat")
    sparse = tm.ChoiceData.from_long(unequal(2), **LAYOUT)
    assert (sparse.adding("e", like="d").alternative == 4).sum() == (sparse.alternative == 3).sum()


def test_new_data_take_levels_and_transforms_of_the_fit():
    data = fishing()
    design = choice_design("mode ~ center(price) | C(income > 4000)", data)
    some = np.zeros(1182, dtype=bool)
    some[np.flatnonzero(data.by_situation("income", "x") > 4000)[:5]] = True
    part = design.again(data.select(some))
    assert torch.equal(part.X, design.X[torch.from_numpy(some)])
    levels = choice_design("chosen ~ price:C(name) | 0", tm.ChoiceData.from_long(trips(), **LAYOUT))
    with pytest.raises(tm.FormulaError, match="levels"):
        levels.again(tm.ChoiceData.from_long(trips(name=list("zzxxyy")), **LAYOUT))


def test_data_for_predictions_need_no_choice():
    design = choice_design("mode ~ price + catch | income", fishing())
    varying = {"price": "price_{alt}", "catch": "catch_{alt}"}
    frame = table("fishing").drop(columns="mode").iloc[::-1]
    for order in (ALL, ALL[::-1]):
        data = tm.ChoiceData.from_wide(frame, choice=None, varying=varying, alternatives=order)
        again = design.again(data)
        assert (again.chosen == -1).all()
        at = [order.index(a) for a in ALL]
        assert torch.equal(again.X[:, at], design.X.flip(0))


def test_values_by_situation():
    frame = unequal(5).assign(w=lambda d: d.trip.str[1:].astype(int) + 1.0)
    shuffled = frame.sample(frac=1, random_state=3)
    data = tm.ChoiceData.from_long(shuffled, persons="who", **LAYOUT)
    expected = [float(label[1:]) + 1 for label in data.labels]
    first_seen = shuffled.drop_duplicates("trip")
    assert data.by_situation("w", "weights").tolist() == expected
    assert data.by_situation(frame.w, "weights").tolist() == expected
    assert data.by_situation(frame.groupby("trip").w.first(), "weights").tolist() == expected
    assert data.by_situation(first_seen.w.to_numpy(), "weights").tolist() == expected
    fewer = data.select(data.chosen > 0)
    assert fewer.by_situation(first_seen.w.to_numpy(), "weights").tolist() == [float(a[1:]) + 1 for a in fewer.labels]
    for value, message in (
        ("price", r"weights='price' differs between the rows"),
        ("ww", r"Unknown column 'ww'"),
        (np.ones(7), r"has 7 values; give one for each of the 30"),
        (pd.Series(np.ones(30)), r"rows have no label in it"),
    ):
        with pytest.raises(tm.DataError, match=message):
            data.by_situation(value, "weights")


def test_variables_of_persons():
    frame = unequal(4)
    data = tm.ChoiceData.from_long(frame, persons="who", **LAYOUT)
    who = frame.drop_duplicates("who").set_index("who").loc[data.person_labels]
    found = person_matrix("~ income + C(region)", data)
    assert found.names == ("Intercept", "income", "C(region)[T.S]", "C(region)[T.W]")
    by_hand = np.column_stack([np.ones(8), who.income, who.region == "S", who.region == "W"])
    assert found.X.numpy() == pytest.approx(by_hand, rel=1e-15)
    assert person_matrix("~ 0 + C(region)", data, constant=False).names == ("C(region)[T.S]", "C(region)[T.W]")
    some = data.select(np.isin(data.person, [1, 4]))
    assert torch.equal(found.again(some).X, found.X[[1, 4]])
    with pytest.raises(tm.FormulaError, match=r"'day' differs between the rows of \d persons"):
        person_matrix("~ day", data)
    gaps = tm.ChoiceData.from_long(frame.assign(income=frame.income.where(frame.who != 3)), persons="who", **LAYOUT)
    with pytest.raises(tm.DataError, match="missing in"):
        person_matrix("~ income", gaps)
    design = choice_design("~ price | 0", gaps, also=["~ income"])
    assert person_matrix("~ income", design.data).X.shape == (7, 2)


def test_single_precision_and_names_of_options():
    design = choice_design("mode ~ price", fishing(), dtype=torch.float32)
    assert design.X.dtype == torch.float32
    for wrong in ({"base": "peer"}, {"collinear": "keep"}):
        with pytest.raises(tm.OptionError, match="Unknown"):
            choice_design("mode ~ price", fishing(), **wrong)


@pytest.mark.parametrize("kind", ["dict", "polars", "arrow"])
def test_other_tables(kind):
    frame = trips()
    if kind == "dict":
        other = frame.to_dict("list")
    elif kind == "polars":
        other = pytest.importorskip("polars").from_dict(frame.to_dict("list"))
    else:
        other = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    one, two = (choice_design("chosen ~ price", tm.ChoiceData.from_long(d, **LAYOUT)) for d in (frame, other))
    assert torch.equal(one.X, two.X)
