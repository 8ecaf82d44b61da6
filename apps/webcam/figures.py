"""Figures of a run that take the same memory however long it goes on."""

import numpy as np


class Percentiles:
    """Percentiles of durations, in bins of RESOLUTION up to LONGEST; longer ones count as that."""

    RESOLUTION = 1e-4  # s
    LONGEST = 10.0  # s

    def __init__(self) -> None:
        """Start without any."""
        self._counts = np.zeros(round(self.LONGEST / self.RESOLUTION) + 1, np.int64)
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[min(max(round(seconds / self.RESOLUTION), 0), len(self._counts) - 1)] += 1
        self._total += 1

    def __len__(self) -> int:
        return self._total

    def at(self, percent: float) -> float:
        """Return the duration, s, that `percent` of all do not exceed; 0 where there are none."""
        if not self._total:
            return 0.0
        wanted = max(1, int(np.ceil(percent / 100.0 * self._total)))
        return float(np.searchsorted(np.cumsum(self._counts), wanted)) * self.RESOLUTION


class Smoothed:
    """A running mean that forgets: what a person can read while it changes."""

    def __init__(self, share: float = 0.1) -> None:
        """`share`: 0-1, how much the newest value counts."""
        self._share = share
        self._value: float | None = None

    def add(self, value: float) -> None:
        """Count a value."""
        self._value = value if self._value is None else self._value + self._share * (value - self._value)

    @property
    def value(self) -> float:
        """The mean; 0 before the first value."""
        return 0.0 if self._value is None else self._value
