"""Read torchmle's results, margins, bootstraps and quantities for a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ...errors import OptionError, listing
from ...optim.status import Status
from ...results.bootstrap import BootstrapResults, JackknifeResults
from ...results.effects import WORDS, Margins
from ...results.results import Results
from .column import Column, Ends, Term, terms_of

CHOICE_PARTS = ("sd", "spread", "chol", "mean", "scale", "alloc")
"""What precedes the colon in names of choice models that are not coefficients of utility."""


def results_column(results: Results, ends: Ends) -> Column:
    """Return the column of a fit; one that did not converge has estimates only."""
    names = panels_of(results)
    tests = "t" if results.use_t else "z"
    name = str(results.model.endog_names)
    response = "" if results.model.response == "function" or name == "(none)" else name
    given = _errors_given(results)
    if results.converged:
        tested = (results.tvalues, results.pvalues, results.conf_int(ends.alpha))
        terms, failure = terms_of(names, results.params, results.bse, *tested), None
    else:
        failure = results.fit.status.sentence.partition(". ")[0]
        known = (results.bse, None, None, results.conf_int(ends.alpha)) if given else ()
        terms = terms_of(names, results.params, *known)
    shown = set(results.listed)
    terms = tuple(t for t, name in zip(_with_held(terms, _held(results)), results.names, strict=True) if name in shown)
    return Column(terms, results, response, failure, given, tests=tests, notes=_notes(results))


def _errors_given(results: Results) -> str:
    """Return what the errors of a trained model take as known; empty where it has none."""
    covariance = results.inference.covariance
    trained = results.fit.status is Status.TRAINED and bool(covariance.withheld)
    return covariance.description if trained else ""


def _notes(results: Results) -> tuple[str, ...]:
    """Return what is to be said of a fit: errors that are withheld, parameters that are not listed."""
    withheld = (f"standard errors {results.fit.withheld}",) if results.fit.withheld and results.converged else ()
    parts = listing(f"{name} ({size})" for name, size in results.parts)
    return (*withheld, *((f"weights that are not listed: {parts}",) if parts else ()))


def panels_of(results: Results) -> list[tuple[str, str]]:
    """Return equation and name of every parameter; the main equation has no name."""
    model = results.model
    known = {str(level) for level in getattr(model, "others", ())} | set(list(model.data.designs)[1:])
    found = []
    for name in results.names:
        before, colon, after = name.partition(":")
        apart = before in known or (_is_choice_part(before) and name not in getattr(model, "exog_names", [name]))
        found.append((before, after) if colon and apart else ("", name))
    return found


def _is_choice_part(word: str) -> bool:
    """Return whether a word is one of the parts of choice models, ``class1`` and ``share2`` included."""
    return word in CHOICE_PARTS or (word[:5] in ("class", "share") and word[5:].isdigit())


def _held(results: Results) -> dict[int, str]:
    pmap = results.fit.map
    sides = {i: f"at {side} bound" for i, side in pmap.at_bound.items()}
    return {**dict.fromkeys(pmap.fixed, "fixed"), **sides}


def _with_held(terms: tuple[Term, ...], held: Mapping[int, str]) -> tuple[Term, ...]:
    """Return the terms, those that are held without errors and tests."""
    return tuple(Term(t.panel, t.name, t.estimate, held=held[i]) if i in held else t for i, t in enumerate(terms))


# ---- margins and other quantities


def margins_column(found: Margins, ends: Ends) -> Column:
    """Return the column of margins; rows bear the names of variables, and what else tells them apart."""
    frame = found.summary_frame(ends.alpha)
    tests = "t" if found.use_t else "z"
    tested = found.kind != "mean"  # zero is no hypothesis about a prediction
    terms = terms_of(
        _labels(found.labels),
        frame["estimate"],
        frame["std err"],
        frame[tests] if tested else None,
        frame[f"P>|{tests}|"] if tested else None,
        frame[["[lower", "upper]"]],
    )
    return Column(terms, None, tests=tests, notes=(f"averages of {WORDS[found.kind]}", *found.notes))


def _labels(labels: pd.DataFrame) -> list[tuple[str, str]]:
    """Return panel and name of rows: the level of the response, the variable with contrast, group and values."""
    found = []
    for row in labels.astype(str).to_dict("records"):
        panel = row.pop("level", "")
        name, contrast = row.pop("variable", ""), row.pop("contrast", "")
        first = ": ".join(part for part in (name, contrast) if part)
        rest = [f"{key}={value}" for key, value in row.items() if value]
        found.append((panel, ", ".join([*([first] if first else []), *rest]) or "prediction"))
    return found


def quantities_column(found: Any, ends: Ends) -> Column:
    """Return the column of functions of the estimates of a choice model: values in money, shares, elasticities."""
    names = [("", ", ".join(row)) for row in found.labels.astype(str).to_numpy().tolist()]
    terms = terms_of(names, found.values, found.se, interval=found.conf_int(ends.alpha))
    return Column(terms, None, notes=(found.title, *found.notes))


# ---- resampling


def resampled_column(found: BootstrapResults | JackknifeResults, ends: Ends) -> Column:
    """Return the column of a bootstrap or jackknife by itself: which parameters can be tested is not known here."""
    interval = (
        found.conf_int(ends.alpha, ends.method) if isinstance(found, BootstrapResults) else found.conf_int(ends.alpha)
    )
    names = [("", str(name)) for name in found.estimates.index]
    return Column(terms_of(names, found.estimates, found.bse, interval=interval), None, notes=(_how(found, ends),))


def with_resampled(results: Results, found: BootstrapResults | JackknifeResults, ends: Ends) -> Column:
    """Return the column of a fit with errors, tests and intervals by resampling."""
    if not found.estimates.equals(results.params):
        raise OptionError("A bootstrap in a pair is that of another fit: its estimates are not those of the results.")
    plain = results_column(results, ends)
    if plain.failure is not None:
        return plain
    by_itself = resampled_column(found, ends)
    df = float(found.counts.sum() - 1) if isinstance(found, JackknifeResults) else None
    by_name = {term.name: term for term in by_itself.terms}
    terms = tuple(_tested(old, by_name[old.full], df) for old in plain.terms)
    return replace(plain, terms=terms, tests="z" if df is None else "t", notes=(*by_itself.notes, *plain.notes))


def _tested(old: Term, new: Term, df: float | None) -> Term:
    """Return a term with the error and interval of another, and a test by them where there was one."""
    if old.held:
        return old
    known = not math.isnan(old.test) and new.se > 0
    test = new.estimate / new.se if known else math.nan
    tail = float(special.ndtr(-abs(test)) if df is None else special.stdtr(df, -abs(test)))
    return replace(old, se=new.se, test=test, pvalue=2 * tail, low=new.low, high=new.high)


def _how(found: BootstrapResults | JackknifeResults, ends: Ends) -> str:
    if isinstance(found, JackknifeResults):
        return f"jackknife errors ({found.units})"
    failed = f", {found.failed} failed" if found.failed else ""
    return f"bootstrap errors ({found.kind}, {found.reps} replicates of {found.units}{failed}; {ends.method} intervals)"


def with_quantities(results: Results, found: Column) -> Column:
    """Return margins or other quantities of a fit, with the statistics of that fit."""
    plain = results_column(results, Ends())
    finite = np.isfinite([t.se for t in found.terms]).all()
    failure = plain.failure if plain.failure is not None or finite else "there are no standard errors"
    return replace(found, source=results, dependent=plain.dependent, failure=failure)
