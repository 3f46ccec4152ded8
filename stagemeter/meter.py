"""Meter one stage: `with Meter("student_training") as meter:` and afterwards `meter.record`."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from uuid6 import uuid7

import stagemeter
from stagemeter import baseline, spool
from stagemeter import environment as environments
from stagemeter.assemble import assemble
from stagemeter.errors import MeterError, SpoolError
from stagemeter.live import Live, LiveLog
from stagemeter.records import ROLE_OF_KIND, ROLES, TOKEN_KINDS, StageRecord
from stagemeter.sampling import SharedSampler, current_sampler, current_spans, shared_sampler
from stagemeter.sensors import flag

SAVE_EVERY_S = 0.5
PERIOD_S = 0.1
_current: ContextVar[str | None] = ContextVar("stagemeter_current", default=None)
current_run: ContextVar[str | None] = ContextVar("stagemeter_run", default=None)


class Meter:
    """Meters the block it is entered around, and leaves a `StageRecord` in `record` and in the spool.

    The stage begins when the sampler has taken its first sample, so waiting for it is not part of the stage. A
    `Meter` inside another one's block is a part of it (`parent_id`) and not summed a second time; the two share a
    sampler and its log.

    `environment=None` collects it here. `gpus` overrides `CUDA_VISIBLE_DEVICES` for the meter ("" meters none).
    `synchronize` is called at both edges, before the sample is taken: pass `torch.cuda.synchronize` where kernels
    may still run. Without an `idle_power_w` that of this host's last prerun is used, where it is comparable. Raises
    `MeterError` on entering if sampling cannot begin. Once the block runs, trouble with
    metering never stops it: it shows as flags in the record.
    """

    def __init__(
        self,
        kind: str,
        *,
        run_id: str | None = None,
        attempt_id: str | None = None,
        spool_dir: Path | str | None = None,
        environment: Mapping[str, Any] | None = None,
        idle_power_w: float | None = None,
        name: str = "",
        role: str = "",
        rank: int = 0,
        world_size: int = 1,
        period_s: float = PERIOD_S,
        gpus: str | None = None,
        synchronize: Callable[[], None] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        role = role or ROLE_OF_KIND.get(kind, "")
        if role not in ROLES:
            raise MeterError(f"{kind!r} is no known kind of stage, so give its role: one of {', '.join(ROLES)}")
        if not 0.01 <= period_s <= 60:
            raise MeterError(f"a period of {period_s!r} s is outside 0.01 to 60 s; the default is {PERIOD_S} s")
        self.record_id = str(uuid7())
        self._spool_dir = (Path(spool_dir) if spool_dir is not None else spool.default_spool()).absolute()
        self.folder = self._spool_dir / self.record_id
        self._environment, self._gpus, self._synchronize = environment, gpus, synchronize
        self._facts: dict[str, Any] = {
            "record_id": self.record_id,
            "kind": kind,
            "role": role,
            "name": name,
            "run_id": run_id if run_id is not None else current_run.get(),
            "attempt_id": attempt_id,
            "rank": rank,
            "world_size": world_size,
            "idle_power_w": idle_power_w,
            "period_s": period_s,
            "extra": dict(extra or {}),
            "stagemeter": stagemeter.__version__,
        }
        self._tokens: dict[str, int] = {}
        self._parts: dict[str, float] = {}
        self._flags: dict[str, dict[str, str]] = {}  # by code: trouble that repeats is said once
        self._lock = Lock()
        self._saved_at = 0.0
        self._closing = False
        self._sampler: SharedSampler | None = None
        self._end_t: float | None = None
        self._record: StageRecord | None = None
        self._live: LiveLog | None = None

    @property
    def record(self) -> StageRecord:
        """What was measured. Raises `MeterError` before the block has ended."""
        if self._record is None:
            raise MeterError("the record is there once the with block has ended")
        return self._record

    def __enter__(self) -> Self:
        if "t" in self._facts:
            raise MeterError("a Meter meters one block; make another one for the next")
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise SpoolError(f"{self.folder} could not be made: {error}") from error
        self._facts["environment"] = dict(environments.collect() if self._environment is None else self._environment)
        self._facts["parent_id"] = _current.get()
        if self._facts["idle_power_w"] is None and self._facts["kind"] != "prerun":
            self._facts["baseline"] = baseline.for_start(self._spool_dir)
        sampler = shared_sampler(self._spool_dir, self._gpus) or SharedSampler(
            self.folder,
            period_s=self._facts["period_s"],
            cpu_cache=self._spool_dir / "cpu.json",
            gpus=self._gpus,
        )
        sampler.join()
        self._sampler = sampler
        self._contexts = _current.set(self.record_id), current_sampler.set(sampler)
        try:
            self._begin(sampler)
        except BaseException:
            self._leave_context()
            sampler.leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave_context()
        extra = {} if error is None else {"error": f"{type(error).__name__}: {error}"[:300]}
        try:
            self._finish("completed" if error is None else "failed", extra)
        except Exception as own:
            if error is None:
                raise
            error.add_note(f"stagemeter could not close the record of this stage either: {own!r}")

    def add_tokens(
        self, *, prompt: int = 0, generated: int = 0, trained: int = 0, padding: int = 0, evaluated: int = 0
    ) -> None:
        """Add to the counts of tokens worked on. Cheap: call it once a step."""
        given = dict(zip(TOKEN_KINDS, (prompt, generated, trained, padding, evaluated), strict=True))
        for kind, count in given.items():
            if count < 0:
                raise MeterError(f"{count} {kind} tokens cannot be added; counts only grow")
        with self._lock:
            for kind, count in given.items():
                if count:
                    self._tokens[kind] = self._tokens.get(kind, 0) + int(count)
        self._save_progress()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the stage (model_loading, validation, checkpoint); parts of one name add up."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._parts[name] = self._parts.get(name, 0.0) + time.monotonic() - began
            self._save_progress()

    def live(self) -> Live:
        """Energy and power so far, from the samples on disk. Cheap enough for every second; any thread may ask."""
        if self._live is None:
            raise MeterError("live figures are there once the with block has begun")
        self._save_progress()
        with self._lock:
            return self._live.figures(self._facts["t"], self._facts["period_s"], dict(self._tokens))

    def _begin(self, sampler: SharedSampler) -> None:
        """The stage's first edge."""
        self._facts |= {"log": sampler.folder.name, "log_bytes": sampler.size(), "period_s": sampler.period_s}
        self._start_now()
        self._live = LiveLog(sampler.folder, since=self._facts["log_bytes"])
        self._save_start(sampler)
        if self._synchronize:
            self._synchronize()
        if not sampler.mark(f"start:{self.record_id}"):
            (self.folder / "start.json").unlink()
            raise MeterError("the sampler died before the stage began; its errors are in sampler.log in the spool")
        self._start_now()  # what came before, the disk above all, is not the stage's

    def _leave_context(self) -> None:
        record, sampler = self._contexts
        _current.reset(record)
        current_sampler.reset(sampler)

    def _start_now(self) -> None:
        self._facts |= {"t": time.monotonic(), "started_at": datetime.now(UTC).isoformat()}

    def _save_start(self, sampler: SharedSampler) -> None:
        pid = sampler.pid
        processes = {
            "process": spool.identity(os.getpid()),
            "sampler": None if pid is None else spool.identity(pid),
        }
        spool.write_json(self.folder / "start.json", {**self._facts, **processes})

    def _save_progress(self) -> None:
        """Keep counts on disk for the case that this process is killed; at most twice a second."""
        now = time.monotonic()
        with self._lock:
            if "t" not in self._facts or self._closing or now - self._saved_at < SAVE_EVERY_S:
                return
            self._saved_at = now
            self._watch_sampler()
            try:
                spool.write_json(self.folder / "progress.json", self._progress(), durable=False)
            except SpoolError as error:
                self._remark("progress_unsaved", f"token counts could not be kept on disk: {error}")

    def _progress(self) -> dict[str, Any]:
        return {"tokens": dict(self._tokens), "parts": dict(self._parts)}

    def _watch_sampler(self) -> None:
        """If the sampler has died, go on with another one. The hole stays visible in the log and in the flags."""
        if self._sampler is None:
            return
        try:
            if self._sampler.revive():
                self._save_start(self._sampler)
        except (MeterError, SpoolError) as error:
            self._remark("sampler_died", f"the sampler died and could not be replaced: {error}")

    def _remark(self, code: str, message: str) -> None:
        self._flags.setdefault(code, flag(code, message[:400]))

    def _finish(self, status: str, extra: Mapping[str, Any]) -> None:
        """The stage's last edge, and its record."""
        if self._synchronize:
            try:
                self._synchronize()
            except RuntimeError as error:  # the device may be what failed
                self._remark("not_synchronized", f"the device could not be synchronised: {error}")
        end = time.monotonic()
        with self._lock:
            self._closing = True
        spans = current_spans.get()
        if spans is not None and self._facts["parent_id"] is None:
            spans.append((self._facts["t"], end))
        if self._sampler is not None:
            self._end(self._sampler)
        record = assemble(
            self._facts,
            self._spool_dir / self._facts["log"],
            end_t=end,
            status=status,
            progress=self._progress(),
            extra=extra,
            flags=tuple(self._flags.values()),
        )
        self._record = self._complete(record)
        spool.write_record(self._spool_dir, self._record)

    def _complete(self, record: StageRecord) -> StageRecord:
        """The record as it is kept: a prerun adds what it found."""
        return record

    def _end(self, sampler: SharedSampler) -> None:
        """The stage's last edge. A sampler that died unseen is replaced, so that the counters are read once more."""
        try:
            if not sampler.mark(f"end:{self.record_id}"):
                sampler.replace()
                sampler.mark(f"end:{self.record_id}")
            sampler.settle()
        except MeterError as error:
            self._remark("sampler_died", f"the sampler died and could not be replaced: {error}")
        if not sampler.leave():
            self._remark("sampler_died", "the sampler did not answer at the end of the stage")
