"""Estimate covariances of rows that depend on each other over time: Newey-West, panels, Driscoll-Kraay."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..data.groups import Groups
from ..data.times import Times, late_times
from ..errors import OptionError, listing, unknown
from .cluster import read_groups
from .corrections import PLAIN, SERIAL, Correction, Factor, read_correction
from .estimator import Options, Sandwich
from .ingredients import Contributions, Found
from .kernels import KERNELS, automatic, rule_of_thumb
from .serial import lagged_sum, recolour, whiten

RULES = ("andrews", "newey-west")

MOST = 10_000_000
"""Lags that are weighed, at most."""

COUNTS = {"freq_weights": "since repeated rows have no place in time. Expand the data, with a time for each row"}


@dataclass(frozen=True, kw_only=True)
class Window:
    """Hold which lags count how much.

    Attributes
    ----------
    kernel : its name.
    maxlags : the last lag that counts, so that lag l is at ``l / (maxlags + 1)`` of the kernel; or None.
    bandwidth : what lags are divided by, or the rule that finds it; or None.
    prewhiten : whether a first-order autoregression of the scores is taken out first.
    """

    kernel: str
    maxlags: int | None = None
    bandwidth: float | str | None = None
    prewhiten: bool = False

    @classmethod
    def read(cls, options: Options, rules: tuple[str, ...] = RULES) -> Window:
        """Return what was asked for."""
        kernel = options.choice("kernel", tuple(KERNELS), "bartlett")
        lags, width = options.get("maxlags"), options.get("bandwidth")
        if lags is not None and width is not None:
            raise OptionError("maxlags and bandwidth say the same thing; give one of them.")
        if lags is not None and not KERNELS[kernel].ends:
            raise OptionError(f"The {kernel} kernel has no last lag: give bandwidth= and not maxlags=.")
        if lags is not None and (isinstance(lags, bool) or not isinstance(lags, (int, np.integer)) or lags < 0):
            raise OptionError(f"maxlags={lags!r} must be a whole number, 0 or more.")
        if isinstance(width, str) and width not in rules:
            raise OptionError(unknown("bandwidth", width, [*map(repr, rules), "a positive number"]))
        if width is not None and not isinstance(width, str):
            width = options.number("bandwidth", width)
        if width is None and lags is None and not KERNELS[kernel].ends:
            if not rules:
                raise OptionError(f"The {kernel} kernel needs a bandwidth here: give bandwidth=, a positive number.")
            width = "andrews"
        prewhiten = options.flag("prewhiten") if rules else False
        return cls(kernel=kernel, maxlags=None if lags is None else int(lags), bandwidth=width, prewhiten=prewhiten)

    def weights(self, span: int, series: Tensor | None, periods: int) -> tuple[Tensor, str]:
        """Return the weights of the lags 0, 1, ... up to ``span`` at most, and words.

        Parameters
        ----------
        series : (T, p) contributions for an automatic bandwidth.
        periods : how many periods have rows, for the default.
        """
        kernel, how = KERNELS[self.kernel], ""
        lags, width = self.maxlags, self.bandwidth
        if lags is None and width is None:
            lags, how = rule_of_thumb(periods), ", 4 (T/100)^(2/9)"
        if isinstance(width, str):
            assert series is not None
            how, width = f" by the rule of {width}", automatic(width, kernel, series, self.prewhiten)
            if self.bandwidth == "newey-west" and kernel.ends:
                lags = int(width)
        text = f"bandwidth {width:.4g}" if lags is None else f"{lags} lag{'s' if lags != 1 else ''}"
        if lags is None:
            assert isinstance(width, float)
            last = min(span, int(np.ceil(width)) - 1) if kernel.ends else span
            unit = max(width, 1e-300)
        else:
            last, unit = min(span, lags), lags + 1.0
        if last > MOST:
            raise OptionError(
                f"There are {span} periods between the first and the last row, and {last} lags to weigh; {MOST} can be "
                "weighed. Give times that are counted in days, months or years, or a kernel and maxlags= that end."
            )
        x = torch.arange(max(last, 0) + 1, dtype=torch.float64, device="cpu") / unit
        return kernel.weight(x), f"{self.kernel} kernel, {text}{how}"


@dataclass(frozen=True, kw_only=True)
class Serial(Sandwich):
    """Return bread times the long-run variance of the scores times bread (Newey and West 1987; Andrews 1991).

    The long-run variance is ``sum_l k(l) sum_t (S_t S_(t-l)' + S_(t-l) S_t')``, S_t the scores of a period.
    """

    table: ClassVar[Mapping[Any, tuple[Factor, str]]] = SERIAL
    window: Window
    correction: Correction

    @abstractmethod
    def series(self, rows: Contributions) -> tuple[Tensor, Tensor, Tensor]:
        """Return contributions in the order of (unit, period), with the unit and the period of each."""

    @property
    @abstractmethod
    def counted(self) -> int:
        """Return the G of the correction."""

    @property
    @abstractmethod
    def words(self) -> str:
        """Return what the covariance is robust to."""

    @property
    def df(self) -> float | None:
        """Return the degrees of freedom of t tests, if they are not those of the residuals."""
        return None

    def meat(self, rows: Contributions, nobs: float, params: int) -> Found:
        """Return the long-run variance."""
        values, units, periods = self.series(rows)
        span = int(periods.max() - periods.min())
        plain, A, length = values, None, len(np.unique(periods.numpy()))
        if self.window.prewhiten:
            values, A = whiten(values)
            units, periods = units[1:], periods[1:]
        tuning = None
        if isinstance(self.window.bandwidth, str):
            tuning = rows.comparable(plain)
            tuning = whiten(tuning)[0] if A is not None else tuning
        weights, text = self.window.weights(span, tuning, length)
        total = lagged_sum(values, units, periods, weights)
        if A is not None:
            total, text = recolour(total, A), f"{text}, prewhitened"
        factor, words = self.table[self.correction]
        return Found(total * factor(self.counted, nobs, params), f"{self.words}, {text}, {words}", self.df)


@dataclass(frozen=True, kw_only=True)
class NeweyWest(Serial):
    """Be robust to heteroskedasticity and autocorrelation in one series."""

    entries: ClassVar[tuple[str, ...]] = (
        *("maxlags", "bandwidth", "kernel", "prewhiten", "time", "use_correction", "information"),
    )
    refused_weights: ClassVar[Mapping[str, str]] = COUNTS
    table: ClassVar[Mapping[Any, tuple[Factor, str]]] = PLAIN
    times: Times | None
    dropped: int

    @classmethod
    def read(cls, options: Options) -> NeweyWest:
        """Return the estimator that was asked for."""
        data, given = options.setting.data, options.get("time")
        times = None if given is None else late_times(given, data.frame, data.rows)
        window = Window.read(options)
        if times is not None and times.distinct < data.rows.count:
            raise OptionError(
                f"time {times.name!r} has {times.distinct} distinct values in {data.rows.count} rows, and 'HAC' is for "
                "one series. Use 'hac-panel' with groups, or 'driscoll-kraay'."
            )
        _refuse_gaps(window, times)
        return cls(
            cov_type=options.cov_type,
            information=options.information(),
            window=window,
            correction=read_correction(options.get("use_correction", False), cls.table),
            times=times,
            dropped=data.rows.total - data.rows.count,
        )

    def series(self, rows: Contributions) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows in the order of their times, or as they stand."""
        values = rows.by_row()
        units = torch.zeros(len(values), dtype=torch.int64, device="cpu")
        if self.times is None:
            return values, units, torch.arange(len(values), device="cpu")
        periods = torch.from_numpy(self.times.periods)
        order = torch.argsort(periods)
        return values[order], units, periods[order]

    @property
    def counted(self) -> int:
        """Return nothing to count: the correction is of rows."""
        return 0

    @property
    def words(self) -> str:
        """Return what the covariance is robust to."""
        if self.times is not None:
            lost = f", {self.times.gaps} periods without a row" if self.times.gaps else ""
            return f"heteroskedasticity and autocorrelation robust, time {self.times.words}{lost}"
        lost = f" ({self.dropped} that were dropped are not counted)" if self.dropped else ""
        return f"heteroskedasticity and autocorrelation robust, lags of rows in use{lost}"


@dataclass(frozen=True, kw_only=True)
class PanelNeweyWest(Serial):
    """Be robust to heteroskedasticity and autocorrelation within each unit of a panel; units are independent."""

    entries: ClassVar[tuple[str, ...]] = (
        *("groups", "time", "maxlags", "bandwidth", "kernel", "use_correction", "information"),
    )
    refused_weights: ClassVar[Mapping[str, str]] = COUNTS
    groups: Groups
    times: Times | None

    @classmethod
    def read(cls, options: Options) -> PanelNeweyWest:
        """Return the estimator that was asked for."""
        data, given = options.setting.data, options.get("time")
        groups = read_groups(options)
        times = None if given is None else late_times(given, data.frame, data.rows)
        if times is not None:
            _refuse_repeated(groups, times, options)
        return cls(
            cov_type=options.cov_type,
            information=options.information(),
            window=Window.read(options, rules=()),
            correction=read_correction(options.get("use_correction", "hac"), cls.table),
            groups=groups,
            times=times,
        )

    def series(self, rows: Contributions) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows of each unit in the order of their times, or as they stand."""
        codes = self.groups.codes
        periods = np.zeros(len(codes), dtype=np.int64) if self.times is None else self.times.periods
        order = np.lexsort((periods, codes))
        codes, periods = codes[order], periods[order]
        if self.times is None:
            starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
            periods = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
        return rows.by_row()[torch.from_numpy(order)], torch.from_numpy(codes), torch.from_numpy(periods)

    @property
    def counted(self) -> int:
        """Return the number of units."""
        return self.groups.count

    @property
    def df(self) -> float:
        """Return the number of units less one."""
        return self.groups.count - 1.0

    @property
    def words(self) -> str:
        """Return what the covariance is robust to."""
        time = "lags of rows in use" if self.times is None else f"time {self.times.words}"
        return f"autocorrelation robust within {self.groups.name}, {self.groups.count} units, {time}"


@dataclass(frozen=True, kw_only=True)
class DriscollKraay(Serial):
    """Be robust to dependence between all rows of a period, and over periods (Driscoll and Kraay 1998)."""

    entries: ClassVar[tuple[str, ...]] = (
        *("time", "maxlags", "bandwidth", "kernel", "prewhiten", "use_correction", "information"),
    )
    times: Times

    @classmethod
    def read(cls, options: Options) -> DriscollKraay:
        """Return the estimator that was asked for."""
        data, window = options.setting.data, Window.read(options)
        times = late_times(options.need("time", "column name or times"), data.frame, data.rows)
        if times.distinct < 2:
            raise OptionError(f"time {times.name!r} has one value among the rows in use; two periods are needed.")
        _refuse_gaps(window, times)
        return cls(
            cov_type=options.cov_type,
            information=options.information(),
            window=window,
            correction=read_correction(options.get("use_correction", "cluster"), cls.table),
            times=times,
        )

    def series(self, rows: Contributions) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums over the rows of each period."""
        periods, codes = np.unique(self.times.periods, return_inverse=True)
        sums = rows.by_group(torch.from_numpy(codes.astype(np.int64).ravel()), len(periods))
        return sums, torch.zeros(len(periods), dtype=torch.int64, device="cpu"), torch.from_numpy(periods)

    @property
    def counted(self) -> int:
        """Return the number of periods."""
        return self.times.distinct

    @property
    def df(self) -> float:
        """Return the number of periods less one."""
        return self.times.distinct - 1.0

    @property
    def words(self) -> str:
        """Return what the covariance is robust to."""
        return f"Driscoll-Kraay, time {self.times.words}, {self.times.distinct} periods"


def _refuse_gaps(window: Window, times: Times | None) -> None:
    """Refuse what needs a series without gaps."""
    if times is not None and times.gaps and (window.prewhiten or isinstance(window.bandwidth, str)):
        what = "prewhiten" if window.prewhiten else f"bandwidth={window.bandwidth!r}"
        raise OptionError(
            f"{what} needs a series without gaps, and {times.gaps} periods of {times.name!r} have no rows. Give "
            "maxlags= or a bandwidth of your own, without prewhitening."
        )


def _refuse_repeated(groups: Groups, times: Times, options: Options) -> None:
    """Refuse two rows of a unit at the same time."""
    keys = groups.codes * (int(times.periods.max()) + 1) + times.periods
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    if (counts > 1).any():
        rows = listing(options.setting.labels[first[counts > 1]], 3)
        raise OptionError(
            f"{int((counts > 1).sum())} units have several rows at one value of time {times.name!r} (e.g. row {rows}). "
            "Use 'cluster', or 'driscoll-kraay'."
        )
