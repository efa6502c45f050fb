"""Estimate covariances of rows that depend on each other in space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree

from ..data.groups import late_values, split_columns
from ..data.vectors import FloatArray, numeric_vector
from ..errors import DataError, OptionError
from .corrections import PLAIN, Correction, read_correction
from .estimator import Options, Sandwich
from .ingredients import Contributions, Found

EARTH = 6371.0088
"""Mean radius in km."""

PAIRS = 2_000_000
"""Pairs of places that are held at a time."""

DISTANCES = ("haversine", "plain")
KERNELS = ("bartlett", "uniform")


@dataclass(frozen=True, kw_only=True)
class Conley(Sandwich):
    """Return bread times ``sum_ij k(d_ij / cutoff) s_i s_j'`` times bread (Conley 1999).

    The kernel falls from 1 to 0 at the cutoff (``"bartlett"``), or is 1 up to it (``"uniform"``). Rows at the same
    place are added up first; only pairs within the cutoff are ever formed, some at a time.
    """

    entries: ClassVar[tuple[str, ...]] = ("coords", "cutoff", "distance", "kernel", "use_correction", "information")
    indefinite: ClassVar[bool] = True
    places: FloatArray
    codes: np.ndarray[Any, np.dtype[np.int64]]
    cutoff: float
    distance: str
    kernel: str
    correction: Correction = False

    @classmethod
    def read(cls, options: Options) -> Conley:
        """Return the estimator that was asked for."""
        distance = options.choice("distance", DISTANCES)
        coords = _coordinates(options, distance)
        places, codes = np.unique(coords, axis=0, return_inverse=True)
        return cls(
            cov_type=options.cov_type,
            information=options.information(),
            places=places,
            codes=codes.astype(np.int64).ravel(),
            cutoff=options.number("cutoff", options.need("cutoff", "distance")),
            distance=distance,
            kernel=options.choice("kernel", KERNELS, "bartlett"),
            correction=read_correction(options.get("use_correction", False), PLAIN),
        )

    def meat(self, rows: Contributions, nobs: float, params: int) -> Found:
        """Return the weighted sum over pairs."""
        sums = rows.by_group(torch.from_numpy(self.codes), len(self.places)).numpy()
        total = np.zeros((sums.shape[1], sums.shape[1]))
        neighbours = 0
        for some, weights in self._pairs():
            total += sums[some].T @ (weights @ sums)
            neighbours += weights.nnz - weights.shape[0]
        factor, words = PLAIN[self.correction]
        unit = " km" if self.distance == "haversine" else ""
        text = (
            f"Conley, {self.kernel} kernel up to {self.cutoff:g}{unit} ({self.distance}), {len(self.places)} places "
            f"with {neighbours / len(self.places):.3g} neighbours on average, {words}"
        )
        return Found(torch.from_numpy((total + total.T) / 2) * factor(0, nobs, params), text)

    def _pairs(self) -> Iterator[tuple[slice, sparse.csr_array]]:
        """Yield ranges of places with the weights of all places in them."""
        points = _on_sphere(self.places) if self.distance == "haversine" else self.places
        reach = _chord(self.cutoff) if self.distance == "haversine" else self.cutoff
        tree = cKDTree(points)
        counts = np.asarray(tree.query_ball_point(points, reach, return_length=True), dtype=np.int64)
        ends = np.cumsum(counts)
        start = 0
        while start < len(points):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + PAIRS, side="right")))
            found = tree.query_ball_point(points[start:stop], reach)
            columns = np.concatenate([np.asarray(f, dtype=np.int64) for f in found])
            rows = np.repeat(np.arange(stop - start), counts[start:stop])
            gap = np.sqrt(((points[start + rows] - points[columns]) ** 2).sum(1))
            away = 2 * EARTH * np.arcsin(np.minimum(gap / 2, 1.0)) if self.distance == "haversine" else gap
            weight = np.maximum(1 - away / self.cutoff, 0.0) if self.kernel == "bartlett" else np.ones_like(away)
            yield slice(start, stop), sparse.csr_array((weight, (rows, columns)), shape=(stop - start, len(points)))
            start = stop


def _coordinates(options: Options, distance: str) -> FloatArray:
    """Return the (n, d) coordinates of the rows in use: latitude and longitude, or numbers in one unit."""
    data, given = options.setting.data, options.need("coords", "[latitude, longitude]")
    columns = split_columns(given, data.frame, data.rows, "coords")
    if len(columns) < 2 and distance == "haversine":
        raise DataError("coords must be latitude and longitude, in this order: two column names, or an (n, 2) array.")
    found = [numeric_vector(late_values(c, "coords", data.frame, data.rows)[1], "coords") for c in columns]
    coords = np.column_stack(found)
    if not np.isfinite(coords).all():
        raise DataError(f"coords are infinite in {int((~np.isfinite(coords)).any(1).sum())} of the rows in use.")
    if distance == "haversine":
        if coords.shape[1] != 2:
            raise DataError(f"coords have {coords.shape[1]} columns; distance='haversine' takes latitude, longitude.")
        north, east = np.abs(coords).max(axis=0)
        if north > 90 or east > 360:
            raise OptionError(
                f"distance='haversine' takes latitude and longitude in degrees, and sizes up to {north:g} and {east:g} "
                "were seen. Swap the columns, or use distance='plain'."
            )
    return coords


def _on_sphere(places: FloatArray) -> FloatArray:
    """Return points on the unit sphere for latitudes and longitudes in degrees."""
    latitude, longitude = np.radians(places).T
    around = np.cos(latitude)
    return np.column_stack([around * np.cos(longitude), around * np.sin(longitude), np.sin(latitude)])


def _chord(distance: float) -> float:
    """Return the straight distance of points of the unit sphere for one along it, a little more for rounding."""
    return 2 * float(np.sin(min(distance / EARTH, np.pi) / 2)) * (1 + 1e-12)
