"""Set several results side by side for a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import OptionError, unknown
from ..results.bootstrap import METHODS, BootstrapResults
from ..results.estimates import within_unit
from .tables.column import Ends
from .tables.document import Table
from .tables.layout import Style, below_notes, body, head, read_below, read_headings, read_stars
from .tables.numbers import BODY, read_formats
from .tables.read import read_column, read_models
from .tables.rows import choose, merge, read_panels, read_rename, sections, split
from .tables.statistics import own_lines, read_statistics, statistic_lines


def table(
    models: Any,
    *,
    headings: Sequence[str] | None = None,
    spanners: Any = None,
    dependent: bool | Sequence[str] | Mapping[str, str] = True,
    below: str | Sequence[str] | None = "se",
    stars: bool | Sequence[float] | Mapping[str, float] = True,
    alpha: float | None = None,
    interval: str | None = None,
    fmt: str | int | Mapping[str, str | int] | None = None,
    rename: Mapping[str, str] | Callable[[str], str] | None = None,
    keep: str | Sequence[str] | None = None,
    drop: str | Sequence[str] | None = None,
    order: str | Sequence[str] | None = None,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    panels: bool | Mapping[str, str] = True,
    indicators: Mapping[str, str | Sequence[str]] | None = None,
    yes_no: tuple[str, str] = ("Yes", "No"),
    stats: Sequence[str] | Mapping[str, str] | None = None,
    rows: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    caption: str | None = None,
    label: str | None = None,
) -> Table:
    """Set models side by side: estimates with errors below, statistics, notes.

    A fit that did not converge has estimates only, and a note; parameters that were held fixed say so.

    Parameters
    ----------
    models : a list of results, or a dict of heading to result. A result may be torchmle's, what its ``margins()``,
        ``bootstrap()``, ``jackknife()`` or ``wtp()`` returned, a pair of a result and one of these (whose numbers are
        shown, with the statistics of the result), or one of statsmodels, linearmodels or pyfixest.
    headings : a text for each model; by default numbers.
    spanners : headings over several models: a dict of text to number of models, or a text for each model; several rows
        as a list of these.
    dependent : whether to name the responses; other names for them as a dict or list.
    below : what stands below an estimate: ``"se"``, ``"t"`` (or z), ``"p"``, ``"ci"``, several of them, or None.
    stars : whether p-values below 0.1, 0.05 and 0.01 get stars; own levels, or a dict of mark to level.
    alpha : one minus the level of the intervals; 0.05 by default.
    interval : kind of bootstrap intervals: ``"percentile"`` (the default), ``"basic"``, ``"bca"``, ``"normal"``.
    fmt : how numbers of the estimates are written: decimals (``3``), significant digits (``"s3"``), or a format of
        Python's (``"%.3f"``, ``".2e"``). A dict has formats for ``"estimate"``, ``"se"``, ``"t"``, ``"p"``, ``"ci"``,
        statistics, own rows and headings of columns.
    rename : dict of name to label (names that are in no model are no error, so that one dict serves many tables), or a
        function of the name. Estimates of different models with one label share a row.
    keep, drop, order : which rows, and which first: names as they stand, or regular expressions that are searched for.
    groups : dict of heading to rows, as names or regular expressions.
    panels : whether further equations (``log_sigma``, alternatives, ``sd``) are sections of their own; a dict gives
        headings to them, to the main equation by ``""``.
    indicators : dict of label to rows that are not shown: a model that has one of them says Yes, others No. Effects
        that a foreign model absorbed count by their names.
    yes_no : the words for it.
    stats : names of statistics, or a dict of name to label: ``"nobs"``, ``"llf"``, ``"rsquared"``, ``"prsquared"``,
        ``"aic"``, ``"bic"``, ``"clusters"``, ``"cov_type"``, ``"model"``, or any attribute of the results.
    rows : dict of label to a list with a value for each model, or to a function of a result.
    notes : sentences to add below.
    caption, label : of the table as a float.

    Raises
    ------
    OptionError
        If a model is none of these, or an option names what is not there.

    Examples
    --------
    >>> import torchmle as tm
    >>> wage = tm.datasets.load("wage1")
    >>> short = tm.OLS.from_formula("lwage ~ educ", wage).fit(cov_type="HC1")
    >>> long = tm.OLS.from_formula("lwage ~ educ + exper", wage).fit(cov_type="HC1")
    >>> print(tm.table([short, long], rename={"educ": "Schooling"}, drop="Intercept", stats=["nobs", "rsquared"]))
    ========================================
                           (1)        (2)
    Dependent variable    lwage      lwage
    ----------------------------------------
    Schooling            0.083***   0.098***
                        (0.008)    (0.008)
    exper                           0.010***
                                   (0.002)
    ----------------------------------------
    Observations           526        526
    R-squared            0.186      0.249
    ========================================
    Standard errors in parentheses. * p < 0.1, ** p < 0.05,
    *** p < 0.01.
    """
    listed, own = read_models(models)
    if own is not None and headings is not None:
        raise OptionError("headings= and a dict of heading to model were given; use one of them.")
    names = read_headings(own if own is not None else headings, len(listed))
    under = read_below(below)
    ends = _ends(alpha, interval, under, listed)
    columns = [read_column(model, ends) for model in listed]
    wanted, by_name = read_statistics(stats)
    formats = read_formats(fmt, [*BODY, *wanted, *(rows or {}), *names])
    style = Style(under, read_stars(stars), formats, ends.alpha)

    apart, titles = read_panels(panels, columns)
    parameters, indicated = split(merge(columns, read_rename(rename), apart), columns, indicators)
    shown = sections(choose(parameters, keep, drop, order), groups, titles)
    blocks = (
        tuple(body(shown, style, names)),
        tuple(own_lines(indicated, listed, formats, yes_no)),
        tuple(statistic_lines(columns, wanted, by_name, formats) + own_lines(rows, listed, formats, yes_no)),
    )
    return Table(
        head(columns, names, spanners, dependent),
        tuple(block for block in blocks if block),
        (*below_notes(columns, style), *_sentences(notes)),
        caption,
        label,
    )


etable = table


def _ends(alpha: float | None, interval: str | None, below: Sequence[str], models: Sequence[Any]) -> Ends:
    """Return which intervals are asked for; refuse options of what is not shown."""
    if alpha is not None and "ci" not in below:
        raise OptionError(f"alpha={alpha!r} is the level of intervals, which are not shown; use below='ci'.")
    parts = [part for model in models for part in (model if isinstance(model, tuple) else (model,))]
    if interval is not None and ("ci" not in below or not any(isinstance(p, BootstrapResults) for p in parts)):
        raise OptionError(f"interval={interval!r} is for intervals of a bootstrap; use below='ci', and give one.")
    if interval is not None and interval not in METHODS:
        raise OptionError(unknown("interval", interval, METHODS))
    return Ends(within_unit(0.05 if alpha is None else alpha), interval or "percentile")


def _sentences(notes: Any) -> list[str]:
    if isinstance(notes, str) or not all(isinstance(note, str) for note in notes):
        raise OptionError(f"notes={notes!r} must be a list of sentences.")
    return list(notes)
