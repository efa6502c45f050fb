"""The data sets are complete, documented, free to redistribute, and the same numbers as at their source."""

from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
import statsmodels.datasets

import torchmle as tm

REFERENCE = Path(__file__).parent / "reference" / "data"
MOST_BYTES = 150_000


@pytest.mark.parametrize("name", tm.datasets.names())
def test_the_catalogue_describes_what_is_loaded(name):
    info, frame = tm.datasets.describe(name), tm.datasets.load(name)
    assert list(frame.columns) == list(info.columns)
    assert len(frame) == info.rows
    texts = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    assert texts == (["mode"] if name == "trips" else [])
    assert info.title
    assert info.source in str(info)
    assert info.licence in str(info)
    assert all(text for text in info.columns.values())


@pytest.mark.parametrize("name", tm.datasets.names())
def test_the_licence_allows_redistribution(name):
    assert tm.datasets.describe(name).licence.startswith(("public domain", "MIT", "BSD"))


def test_the_data_stay_small():
    files = [f for f in resources.files("torchmle.data.datasets").iterdir() if f.name.endswith(".csv.gz")]
    assert sorted(f.name.removesuffix(".csv.gz") for f in files) == tm.datasets.names()
    assert sum(len(f.read_bytes()) for f in files) < MOST_BYTES


@pytest.mark.parametrize(("name", "file"), [
    ("mroz", "w_mroz.csv.gz"),
    ("wage1", "w_wage1.csv.gz"),
    ("crime1", "w_crime1.csv.gz"),
    ("filip", "nist_filip.csv"),
])  # fmt: skip
def test_the_reference_cases_hold_for_the_same_numbers(name, file):
    pd.testing.assert_frame_equal(tm.datasets.load(name), pd.read_csv(REFERENCE / file), check_exact=True)


@pytest.mark.parametrize("name", ["longley", "anes96"])
def test_statsmodels_has_the_same_numbers(name):
    theirs = getattr(statsmodels.datasets, name).load_pandas().data
    ours = tm.datasets.load(name)
    theirs.columns = [c.lower() if name == "longley" else c for c in theirs.columns]
    pd.testing.assert_frame_equal(ours, theirs[list(ours.columns)], check_dtype=False, rtol=1e-12)


def test_every_call_returns_a_frame_of_its_own():
    first = tm.datasets.load("wage1")
    first["educ"] = 0
    assert tm.datasets.load("wage1")["educ"].sum() > 0


def test_the_description_cannot_be_changed():
    info = tm.datasets.describe("wage1")
    with pytest.raises(AttributeError):
        info.rows = 0
    with pytest.raises(TypeError):
        info.columns["educ"] = ""
    assert hash(info) == hash(tm.datasets.describe("wage1"))


@pytest.mark.parametrize("call", [tm.datasets.load, tm.datasets.describe])
@pytest.mark.parametrize(("name", "says"), [
    ("mros", r"Unknown data set 'mros'\. Did you mean 'mroz'\? Available: anes96"),
    ("../catalogue", "Unknown data set"),
    (["mroz"], "Unknown data set"),
])  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest(call, name, says):
    with pytest.raises(tm.OptionError, match=says):
        call(name)
