"""Fewer points for a line on a screen: of each stretch its lowest and its highest sample, gaps left open. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

FEWEST_POINTS = 4


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """A line thinned. `samples` is how many there were; `gaps` are stretches (from, to) in seconds without any."""

    times_s: NDArray[np.float64]
    power_w: NDArray[np.float32]
    gaps: tuple[tuple[float, float], ...]
    samples: int


def thin(
    pieces: Iterable[tuple[NDArray[np.float64], NDArray[np.float32]]],
    *,
    points: int,
    gap_s: float,
    moments: Sequence[float] = (),
) -> Thinned:
    """About `points` of the samples that come as pieces of (seconds, watts), in order of time.

    Kept besides the lowest and the highest of each of points/2 equal stretches of time: the first sample and the last
    one, both sides of every gap longer than `gap_s`, and both neighbours of every one of the `moments`.
    """
    kept: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
    gaps: list[tuple[float, float]] = []
    samples, last = 0, None
    for times, watts in pieces:
        if not len(times):
            continue
        found = _gaps(times if last is None else np.insert(times, 0, last), gap_s)
        chosen = _choose(times, watts, points, [*moments, *chain(*found)])
        kept.append((times[chosen], watts[chosen]))
        gaps += found
        samples, last = samples + len(times), float(times[-1])
    times = np.concatenate([np.empty(0), *(piece for piece, _ in kept)])
    watts = np.concatenate([np.empty(0, np.float32), *(piece for _, piece in kept)])
    chosen = _choose(times, watts, points, [*moments, *chain(*gaps)])
    return Thinned(times_s=times[chosen], power_w=watts[chosen], gaps=tuple(gaps), samples=samples)


def _gaps(times: NDArray[np.float64], gap_s: float) -> list[tuple[float, float]]:
    places = np.flatnonzero(np.diff(times) > gap_s)
    return [(float(times[place]), float(times[place + 1])) for place in places]


def _choose(
    times: NDArray[np.float64], watts: NDArray[np.float32], points: int, moments: Sequence[float]
) -> NDArray[np.int64]:
    """The places of the samples to keep, in order."""
    count = len(times)
    if count <= max(points, FEWEST_POINTS):
        return np.arange(count)
    around = np.searchsorted(times, np.asarray(moments, np.float64))
    ends = np.array([0, count - 1, watts.argmin(), watts.argmax()])
    beside = np.clip(np.concatenate([around - 1, around, around + 1]), 0, count - 1)
    return np.unique(np.concatenate([_extremes(times, watts, points), beside, ends]))


def _extremes(times: NDArray[np.float64], watts: NDArray[np.float32], points: int) -> NDArray[np.int64]:
    if times[0] == times[-1]:  # no stretch of time to divide
        return np.empty(0, np.int64)
    from tsdownsample import MinMaxDownsampler

    even = max(FEWEST_POINTS, points - points % 2)
    places: NDArray[np.uint64] = MinMaxDownsampler().downsample(times, watts, n_out=even)
    return places.astype(np.int64)
