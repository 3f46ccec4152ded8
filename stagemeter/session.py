"""Meter a whole run: `with Session("run-1") as session:` around the meters of its stages.

The stages then share one sampler and one log, and what was drawn between them does not go unseen: `session.balance`
says, by component, what the log says of the whole run, what its root stages say, and what was drawn in the time that
no stage covered. Energies in joules; `None` where a component is not known.
"""

import logging
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from stagemeter import nesting, ranks, spool
from stagemeter.balance import Balance, Share, balance
from stagemeter.energy import Flags
from stagemeter.errors import MeterError, SpoolError
from stagemeter.meter import PERIOD_S
from stagemeter.records import new_record_id
from stagemeter.sampling import SharedSampler
from stagemeter.sensors import flag

logger = logging.getLogger(__name__)


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
        self.folder = self._spool_dir / f"session-{new_record_id()}"
        self._period_s, self._gpus = period_s, ranks.place().gpus if gpus is None else gpus
        self._start_t = 0.0
        self._balance: Balance | None = None
        self._flags: Flags = []
        self._sampler: SharedSampler | None = None
        self._open: nesting.Open | None = None

    @property
    def balance(self) -> dict[str, Share]:
        """By component: `gpu` (where a figure for GPUs is due), `cpu`, `ram`. Raises `MeterError` before the end."""
        return self._ended().shares

    @property
    def flags(self) -> Flags:
        """Remarks on the balance: why a figure is `None`, what overlaps. Raises `MeterError` before the end."""
        return self._ended().flags

    def _ended(self) -> Balance:
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
        try:
            self._save_start(sampler)
            if not sampler.edge("start:run"):
                raise MeterError(f"the sampler died before the run began; its errors are in {self.folder}/sampler.log")
        except BaseException:
            sampler.leave()
            raise
        self._sampler, self._start_t = sampler, time.monotonic()
        self._open = nesting.Open(record_id=None, run_id=self.run_id, folder=self.folder, sampler=sampler)
        nesting.enter(self._open)
        return self

    def _save_start(self, sampler: SharedSampler) -> None:
        """What it takes to close the books of a run whose process was killed."""
        facts = {"run_id": self.run_id, "t": time.monotonic(), "period_s": self._period_s}
        pid = sampler.pid
        processes = {
            "process": spool.identity(os.getpid()),
            "sampler": None if pid is None else spool.identity(pid),
        }
        spool.write_json(self.folder / spool.SESSION_NAME, {**facts, **processes})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_t = time.monotonic()
        if self._open is not None:
            nesting.leave(self._open)
        if self._sampler is None or self._sampler.owner != os.getpid():  # a fork leaves the block, too
            return
        self._end(self._sampler)
        try:
            found = balance(self.folder, (self._start_t, end_t), nesting.spans(self.folder), period_s=self._period_s)
        except Exception as own:
            logger.exception("the balance of the run in %s could not be made", self.folder)
            text = f"the balance of this run could not be made: {own!r}"
            found = Balance(shares={}, flags=[flag("balance_failed", text[:400])])
        self._balance = Balance(shares=found.shares, flags=[*self._flags, *found.flags])
        facts = {"run_id": self.run_id, "duration_s": end_t - self._start_t, "process": spool.identity(os.getpid())}
        try:
            spool.write_json(self.folder / spool.BALANCE_NAME, {**facts, **self._balance.to_dict()})
        except SpoolError as own:
            logger.error("the balance of this run stays in memory: %s", own)  # noqa: TRY400 - the sentence is enough
            self._balance.flags.append(flag("balance_unsaved", f"it was not saved: {own}"[:400]))

    def _end(self, sampler: SharedSampler) -> None:
        """The run's last edge. A sampler that died unseen is replaced, so that the counters are read once more."""
        problem = ""
        try:
            if not sampler.edge("end:run"):
                problem = "no sampler answered at the end of the run"
            sampler.settle()
        except MeterError as error:
            problem = f"the sampler died and could not be replaced: {error}"
        finally:
            if not sampler.leave():
                problem = problem or "the sampler did not answer at the end of the run"
        if problem:
            self._flags.append(flag("sampler_died", problem[:400]))
