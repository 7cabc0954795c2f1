"""Accumulators with constant-size updates whose result does not depend on the order of additions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from math import fsum, isfinite

import numpy as np
from numpy.typing import NDArray

_FOLDED = 1024


class ExactMean:
    """Mean of floats, summed without rounding error and rounded once at the end."""

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._sum = Fraction(0)
        self._not_finite = 0.0
        self._count = 0
        self._waiting: list[float] = []
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Add one value. Infinities and NaN make the mean what IEEE 754 addition makes of them."""
        self._count += 1
        self._waiting.append(value)
        if len(self._waiting) >= _FOLDED:
            self._fold()

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Add many values; exactly as one by one."""
        self._count += len(values)
        self._waiting.extend(values.tolist())
        self._fold()

    def _fold(self) -> None:
        """Add the waiting values to the sum: many at once cost a tenth of one by one."""
        rest = [value for value in self._waiting if isfinite(value)]
        self._not_finite += sum(value for value in self._waiting if not isfinite(value))
        self._waiting.clear()
        while (rounded := fsum(rest)) != 0.0:  # what rounding left out is summed next
            self._sum += Fraction(rounded)
            rest.append(-rounded)

    @property
    def value(self) -> float:
        """The mean of the values so far.

        Raises:
            ZeroDivisionError: no value was added.
        """
        self._fold()
        return float(self._sum / self._count) + self._not_finite


class BusyTime:
    """Seconds covered by at least one of many time intervals, as for episodes that run concurrently.

    An addition costs O(log k) for k disjoint intervals; k is small when intervals overlap.
    """

    def __init__(self) -> None:
        self._starts: list[float] = []
        self._stops: list[float] = []
        self._seconds = Fraction(0)

    def add(self, start_s: float, stop_s: float) -> None:
        """Add an interval; both ends are on one clock. One that is not finite or ends before it starts is ignored."""
        if not (isfinite(start_s) and isfinite(stop_s) and start_s <= stop_s):
            return
        first, last = bisect_left(self._stops, start_s), bisect_right(self._starts, stop_s)
        for i in range(first, last):
            self._seconds -= Fraction(self._stops[i]) - Fraction(self._starts[i])
        if first < last:
            start_s, stop_s = min(start_s, self._starts[first]), max(stop_s, self._stops[last - 1])
        self._seconds += Fraction(stop_s) - Fraction(start_s)
        self._starts[first:last], self._stops[first:last] = [start_s], [stop_s]

    def add_all(self, starts_s: NDArray[np.float64], stops_s: NDArray[np.float64]) -> None:
        """Add many intervals."""
        is_valid = np.isfinite(starts_s) & np.isfinite(stops_s) & (starts_s <= stops_s)
        order = np.argsort(starts_s[is_valid])
        starts, stops = starts_s[is_valid][order], np.maximum.accumulate(stops_s[is_valid][order])
        gaps = np.flatnonzero(starts[1:] > stops[:-1])  # no interval covers the time after these
        for first, last in pairwise([-1, *gaps.tolist(), len(starts) - 1] if len(starts) else []):
            self.add(float(starts[first + 1]), float(stops[last]))

    @property
    def seconds(self) -> float:
        """Length of the union of all intervals."""
        return float(self._seconds)
