"""Meter a whole run: `with Session("run-1") as session:` around the meters of its stages.

The stages then share one sampler and one log, and what was drawn between them does not go unseen: `session.balance`
says, by component, what the log says of the whole run, what its root stages say, and what was drawn in the time that
no stage covered. Energies in joules; `None` where a component is not known.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from uuid6 import uuid7

from stagemeter import spool
from stagemeter.assemble import Measured, measure
from stagemeter.energy import Window
from stagemeter.errors import MeterError, SpoolError
from stagemeter.meter import PERIOD_S, current_run
from stagemeter.sampling import SharedSampler, current_sampler, current_spans

BALANCE_NAME = "balance.json"


@dataclass(frozen=True, kw_only=True)
class Share:
    """One component of a run, in joules: `total_j` by the run's log, of which `stages_j` and `untracked_j`."""

    total_j: float | None
    stages_j: float | None
    untracked_j: float | None


class Session:
    """Owns the sampler of a run. Meters entered inside use it, and take its `run_id` if they name none.

    `spool_dir`, `period_s` and `gpus` as in `Meter`. Raises `MeterError` on entering if sampling cannot begin.
    """

    def __init__(
        self,
        run_id: str,
        *,
        spool_dir: Path | str | None = None,
        period_s: float = PERIOD_S,
        gpus: str | None = None,
    ) -> None:
        self.run_id = run_id
        self._spool_dir = (Path(spool_dir) if spool_dir is not None else spool.default_spool()).absolute()
        self.folder = self._spool_dir / f"session-{uuid7()}"
        self._period_s, self._gpus = period_s, gpus
        self._start_t = 0.0
        self._balance: dict[str, Share] | None = None
        self._sampler: SharedSampler | None = None

    @property
    def balance(self) -> dict[str, Share]:
        """By component: `gpu` (where a figure for GPUs is due), `cpu`, `ram`. Raises `MeterError` before the end."""
        if self._balance is None:
            raise MeterError("the balance is there once the with block has ended")
        return self._balance

    def __enter__(self) -> Self:
        if self._sampler is not None:
            raise MeterError("a Session meters one run; make another one for the next")
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise SpoolError(f"{self.folder} could not be made: {error}") from error
        cache = self._spool_dir / "cpu.json"
        sampler = SharedSampler(self.folder, period_s=self._period_s, cpu_cache=cache, gpus=self._gpus)
        sampler.join()
        if not sampler.mark("start:run"):
            sampler.leave()
            raise MeterError(f"the sampler died before the run began; its errors are in {self.folder}/sampler.log")
        self._sampler, self._start_t = sampler, time.monotonic()
        self._contexts = current_sampler.set(sampler), current_run.set(self.run_id), current_spans.set([])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_t = time.monotonic()
        spans = current_spans.get() or []
        sampler, run, roots = self._contexts
        current_sampler.reset(sampler)
        current_run.reset(run)
        current_spans.reset(roots)
        if self._sampler is not None:
            self._sampler.mark("end:run")
            self._sampler.leave()
        self._balance = balance(self.folder, (self._start_t, end_t), spans, period_s=self._period_s)
        shares = {component: vars(share) for component, share in self._balance.items()}
        facts = {"run_id": self.run_id, "duration_s": end_t - self._start_t, "process": spool.identity(os.getpid())}
        spool.write_json(self.folder / BALANCE_NAME, {**facts, "components": shares})


def balance(
    folder: Path, whole: tuple[float, float], spans: Sequence[tuple[float, float]], *, period_s: float
) -> dict[str, Share]:
    """What the log in `folder` says of the run from `whole[0]` to `whole[1]`, of its root stages and of the rest.

    `spans` are the root stages in monotonic seconds; where some overlap, they are one. Total, stages and rest are
    integrated each for itself, so that their agreement is a check.
    """
    covered = _merged(spans)
    edges = [whole[0], *(t for span in covered for t in span), whole[1]]
    rest = list(zip(edges[::2], edges[1::2], strict=True))
    total, stages, between = (
        [measure(folder, Window(start=a, end=b, period_s=period_s)) for a, b in windows if b > a]
        for windows in ([whole], covered, rest)
    )
    components = ("gpu", "cpu", "ram") if any(part.log.gpu_expected for part in total) else ("cpu", "ram")
    return {
        name: Share(total_j=_sum(total, name), stages_j=_sum(stages, name), untracked_j=_sum(between, name))
        for name in components
    }


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _sum(parts: Sequence[Measured], component: str) -> float | None:
    values = [getattr(part, component).value_j for part in parts]
    return sum(values) if all(value is not None for value in values) else None
