"""Meter one stage: `with Meter("student_training") as meter:` and afterwards `meter.record`."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import stagemeter
from stagemeter import baseline, nesting, ranks, spool
from stagemeter import environment as environments
from stagemeter.errors import MeterError, SpoolError
from stagemeter.records import ROLE_OF_KIND, ROLES, TOKEN_KINDS, StageRecord, new_record_id
from stagemeter.sampling import SharedSampler, shared_sampler
from stagemeter.sensors import flag

if TYPE_CHECKING:
    from stagemeter.live import Live, LiveLog

logger = logging.getLogger(__name__)

SAVE_EVERY_S = 0.5
PERIOD_S = 0.1
OTHERS_NAME = "uncounted"  # there once another process has tried to count tokens


_innermost: ContextVar["Meter | None"] = ContextVar("stagemeter_meter", default=None)


def current() -> "Meter":
    """The innermost meter around this code, in this thread or task. Raises `MeterError` where there is none."""
    meter = _innermost.get()
    if meter is None or meter._open is None or meter._open.ended:  # the block may have been left in another thread
        raise MeterError("no meter is open here; write `with Meter(…)` around it, or decorate it with `metered(…)`")
    return meter


class Meter:
    """Meters the block it is entered around, and leaves a `StageRecord` in `record` and in the spool.

    The stage begins when the sampler has taken its first sample, so waiting for it is not part of the stage. A
    `Meter` inside another one's block is a part of it (`parent_id`) and not summed a second time; the two share a
    sampler and its log. That holds for a block in another thread or in a child process, too (`stagemeter.nesting`).
    Tokens and parts are counted by the process that entered the block.

    Under torchrun `rank` and `world_size` are its, and each rank meters its own GPU (`stagemeter.ranks`); the records
    of one run are summed. A meter that is told of no run belongs to `$STAGEMETER_RUN`.

    `environment=None` collects it here. `gpus` overrides `CUDA_VISIBLE_DEVICES` for the meter ("" meters none).
    `synchronize` is called at both edges, before the sample is taken: "cuda" waits for the kernels of torch, where that
    is loaded and has used a GPU by then; give a function of your own for anything else. Without an `idle_power_w` that
    of this host's last prerun is used, where it is comparable.

    Raises `MeterError` on entering if sampling cannot begin, `SpoolError` if the disk takes nothing. Once the block
    runs, trouble with metering never stops it: it shows as flags in the record. A record that could not be saved is
    flagged `record_unsaved` and can be, by `save`.
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
        rank: int | None = None,
        world_size: int | None = None,
        period_s: float = PERIOD_S,
        gpus: str | None = None,
        synchronize: Callable[[], object] | Literal["cuda"] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        role = role or ROLE_OF_KIND.get(kind, "")
        if role not in ROLES:
            raise MeterError(f"{kind!r} is no known kind of stage, so give its role: one of {', '.join(ROLES)}")
        if not 0.01 <= period_s <= 60:
            raise MeterError(f"a period of {period_s!r} s is outside 0.01 to 60 s; the default is {PERIOD_S} s")
        self.record_id = new_record_id()
        self._spool_dir = (Path(spool_dir) if spool_dir is not None else spool.default_spool()).absolute()
        self.folder = self._spool_dir / self.record_id
        place = ranks.place()
        self._environment = environment
        self._gpus = gpus if gpus is not None or rank is not None else place.gpus
        self._synchronize = synchronize_cuda if synchronize == "cuda" else synchronize
        self._facts: dict[str, Any] = {
            "record_id": self.record_id,
            "kind": kind,
            "role": role,
            "name": name,
            "run_id": run_id,
            "attempt_id": attempt_id,
            "rank": place.rank if rank is None else rank,
            "world_size": place.world_size if world_size is None else world_size,
            "idle_power_w": idle_power_w,
            "period_s": period_s,
            "extra": dict(extra or {}),
            "stagemeter": stagemeter.__version__,
        }
        self._tokens: dict[str, int] = {}
        self._parts: dict[str, float] = {}
        self._work: dict[str, float | str] = {}
        self._flags: dict[str, dict[str, str]] = {}  # by code: trouble that repeats is said once
        self._lock = Lock()
        self._saved_at = 0.0
        self._closing = False
        self._sampler: SharedSampler | None = None
        self._open: nesting.Open | None = None
        self._token: Token[Meter | None] | None = None
        self._owner = os.getpid()
        self._refused = 0  # the fork that was told so
        self._record: StageRecord | None = None
        self._problem: Exception | None = None  # why there is no record
        self._live: LiveLog | None = None

    @property
    def record(self) -> StageRecord:
        """What was measured. Raises `MeterError` before the block has ended, and where no record could be made."""
        if self._problem is not None:
            raise MeterError(f"the record of this stage could not be made: {self._problem!r}") from self._problem
        if self._record is None:
            raise MeterError("the record is there once the with block has ended")
        return self._record

    def __enter__(self) -> Self:
        if "t" in self._facts:
            raise MeterError("a Meter meters one block; make another one for the next")
        # What the end of a stage needs is loaded before it begins, neither by the import of this module nor inside the
        # stage, where memory or the disk may be short.
        from stagemeter import assemble, lineage, live  # noqa: F401

        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise SpoolError(f"{self.folder} could not be made: {error}") from error
        self._facts["environment"] = dict(environments.collect() if self._environment is None else self._environment)
        place = nesting.find(self._facts["run_id"])
        self._facts |= _family(place, self._facts["run_id"])
        self._facts["run_id"] = self._facts["run_id"] or os.environ.get("STAGEMETER_RUN") or None
        if self._facts["idle_power_w"] is None and self._facts["kind"] != "prerun":
            self._facts["baseline"] = baseline.for_start(self._spool_dir)
        around = [one.sampler for one in (place.parent, place.run) if one is not None]
        sampler = shared_sampler(around, self._spool_dir, self._gpus) or SharedSampler(
            self.folder,
            period_s=self._facts["period_s"],
            cpu_cache=self._spool_dir / "cpu.json",
            gpus=self._gpus,
        )
        sampler.join()
        self._sampler, self._owner = sampler, os.getpid()
        self._open = nesting.Open(
            record_id=self.record_id,
            run_id=self._facts["run_id"],
            folder=self.folder,
            sampler=sampler,
            parent=place.parent,
            run=place.run,
        )
        nesting.enter(self._open)
        try:
            self._begin(sampler)
        except BaseException:
            nesting.leave(self._open)
            sampler.leave()
            (self.folder / "start.json").unlink(missing_ok=True)  # there was no stage that could have been lost
            raise
        self._token = _innermost.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            nesting.leave(self._open)
        if self._token is not None:
            with suppress(ValueError):  # left in another task than it was entered in
                _innermost.reset(self._token)
        if self._is_elsewhere():  # a fork leaves the block, too; the stage is its parent's
            return
        extra = {} if error is None else {"error": f"{type(error).__name__}: {error}"[:300]}
        try:
            self._finish("completed" if error is None else "failed", extra)
        except Exception as own:
            self._problem = own
            logger.exception("the record of the stage in %s could not be made", self.folder)
            if error is not None:
                error.add_note(f"stagemeter could not close the record of this stage either: {own!r}")

    def add_tokens(
        self, *, prompt: int = 0, generated: int = 0, trained: int = 0, padding: int = 0, evaluated: int = 0
    ) -> None:
        """Add to the counts of tokens worked on. Cheap: call it once a step."""
        given = dict(zip(TOKEN_KINDS, (prompt, generated, trained, padding, evaluated), strict=True))
        for kind, count in given.items():
            if count < 0:
                raise MeterError(f"{count} {kind} tokens cannot be added; counts only grow")
        if self._is_elsewhere():
            self._refuse("tokens")
            return
        with self._lock:
            for kind, count in given.items():
                if count:
                    self._tokens[kind] = self._tokens.get(kind, 0) + int(count)
        self._save_progress()

    def add_work(self, *, flops: float, moved_bytes: float | None = None, precision: str = "bf16") -> None:
        """Add to the floating-point operations done, by a stated formula, and to the bytes moved where one states them.

        Kept in the record's `extra.work`: what an ideal run of the same work would have taken follows from it.
        """
        if flops < 0 or (moved_bytes or 0) < 0:
            raise MeterError(f"{flops!r} operations and {moved_bytes!r} bytes cannot be added; counts only grow")
        with self._lock:
            self._work["flops"] = float(self._work.get("flops", 0.0)) + flops
            if moved_bytes is not None:
                self._work["bytes"] = float(self._work.get("bytes", 0.0)) + moved_bytes
            self._work["precision"] = precision
        self._save_progress()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part of the stage (model_loading, validation, checkpoint); parts of one name add up."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add_part(name, time.monotonic() - began)

    def add_part(self, name: str, seconds: float) -> None:
        """Add to the time of a part that was taken by other means than `part`."""
        if self._is_elsewhere():
            self._refuse(f"the part {name}")
            return
        with self._lock:
            self._parts[name] = self._parts.get(name, 0.0) + seconds
        self._save_progress()

    def _is_elsewhere(self) -> bool:
        """Whether this is a fork of the process that entered the block: its counts, sampler and record are not here."""
        return os.getpid() != self._owner

    def _refuse(self, what: str) -> None:
        """Say in this process that nothing is counted here, and leave a sign for the record."""
        if self._refused == os.getpid():
            return
        self._refused = os.getpid()
        text = f"{what} of {self.record_id} cannot be counted in a fork: hand the numbers to the process that meters"
        try:
            (self.folder / OTHERS_NAME).touch()
        except OSError as error:
            text += f" ({error})"
        warnings.warn(text, RuntimeWarning, stacklevel=4)

    def live(self) -> "Live":
        """Energy and power so far, from the samples on disk. Cheap enough for every second; any thread may ask."""
        if self._live is None:
            raise MeterError("live figures are there once the with block has begun")
        if self._is_elsewhere():
            raise MeterError("live figures are known to the process that entered the block")
        self._save_progress()
        with self._lock:
            return self._live.figures(self._facts["t"], self._facts["period_s"], dict(self._tokens))

    def _begin(self, sampler: SharedSampler) -> None:
        """The stage's first edge. Raises `MeterError` if sampling cannot begin, `SpoolError` if the disk is full."""
        sampler.revive()
        self._facts |= {"log": sampler.folder.name, "log_bytes": sampler.size(), "period_s": sampler.period_s}
        self._start_now()
        from stagemeter.live import LiveLog

        self._live = LiveLog(sampler.folder, since=self._facts["log_bytes"])
        self._save_start(sampler)
        self._wait_for_device("beginning")
        saved = sampler.pid
        if not sampler.edge(f"start:{self.record_id}"):
            raise MeterError("the sampler died before the stage began; its errors are in sampler.log in the spool")
        if sampler.pid != saved:
            self._save_start(sampler)
        self._start_now()  # what came before, the disk above all, is not the stage's
        self._note("start", self._facts["t"])

    def _note(self, edge: str, t: float) -> None:
        """Tell the run's books when a root stage begins and ends."""
        if self._open is None or self._open.run is None or not self._open.is_root:
            return
        try:
            nesting.note(self._open.run, self.record_id, edge, t)
        except OSError as error:
            self._remark("run_unnoted", f"the balance of its run does not know this stage: {error}")

    def _wait_for_device(self, edge: str) -> None:
        """Synchronise. Trouble with that is the record's, and nothing that stops the stage."""
        if self._synchronize is None:
            return
        try:
            self._synchronize()
        except BaseException as error:
            text = f"the device could not be synchronised at the stage's {edge}: {type(error).__name__}: {error}"
            self._remark("not_synchronized", text)
            if not isinstance(error, Exception):  # an interrupt is the stage's
                raise

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
        return {"tokens": dict(self._tokens), "parts": dict(self._parts), "work": dict(self._work)}

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
        try:
            self._wait_for_device("end")
        finally:
            self._close(status, extra)

    def _close(self, status: str, extra: Mapping[str, Any]) -> None:
        from stagemeter import lineage
        from stagemeter.assemble import assemble

        end = time.monotonic()
        with self._lock:
            self._closing = True
        self._note("end", end)
        if self._sampler is not None:
            self._end(self._sampler)
        self._say_what_others_did()
        record = assemble(
            self._facts,
            self._spool_dir / self._facts["log"],
            end_t=end,
            status=status,
            progress=self._progress(),
            extra=extra,
            flags=tuple(self._flags.values()),
        )
        parent = None if self._open is None else self._open.parent
        if parent is not None:
            record = replace(record, flags=(*record.flags, *lineage.beyond_root(record, parent.folder)))
        self._record = self._complete(record)
        try:
            self.save()
        except SpoolError as error:
            text = (
                f"the record was not saved: {error}; make room, then call save() of its meter while this process lives"
            )
            logger.error("%s: %s", self.record_id, text)  # noqa: TRY400 - the sentence is enough
            self._record = replace(self._record, flags=(*self._record.flags, flag("record_unsaved", text[:400])))

    def save(self) -> None:
        """Put the record into the spool once more, where the disk would not take it. Raises `SpoolError`."""
        spool.write_record(self._spool_dir, replace(self.record, flags=_saved(self.record.flags)))

    def _say_what_others_did(self) -> None:
        parent = None if self._open is None else self._open.parent
        if parent is not None and not parent.is_open:
            text = "this stage went on after the stage that it is part of; what was drawn then is in no root stage"
            self._remark("outlived_parent", text)
        if (self.folder / OTHERS_NAME).exists():
            text = "another process counted tokens or parts of this stage, which are not in its record"
            self._remark("counts_lost", text)

    def _complete(self, record: StageRecord) -> StageRecord:
        """The record as it is kept: a prerun adds what it found."""
        return record

    def _end(self, sampler: SharedSampler) -> None:
        """The stage's last edge. A sampler that died unseen is replaced, so that the counters are read once more."""
        try:
            if not sampler.edge(f"end:{self.record_id}"):
                self._remark("sampler_died", "no sampler answered at the end of the stage")
            sampler.settle()
        except MeterError as error:
            self._remark("sampler_died", f"the sampler died and could not be replaced: {error}")
        finally:
            answered = sampler.leave()
        if not answered:
            self._remark("sampler_died", "the sampler did not answer at the end of the stage")


def _family(place: nesting.Place, run_id: str | None) -> dict[str, Any]:
    """What a stage takes over from those around it."""
    around = place.parent or place.run
    inherited = around.run_id if around is not None else None
    return {
        "parent_id": None if place.parent is None else place.parent.record_id,
        "run_id": inherited if run_id is None else run_id,
        "session": None if place.run is None else place.run.folder.name,
        "flags": place.flags,
    }


def _saved(flags: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
    return tuple(remark for remark in flags if remark["code"] != "record_unsaved")


def synchronize_cuda() -> None:
    """Wait for the kernels of torch that still run, on every GPU it has used: their energy is the stage's.

    Does nothing where torch is not loaded, or has used no GPU: asking must not be what starts CUDA.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    current = torch.cuda.current_device()
    for device in range(torch.cuda.device_count()):
        if device == current or torch.cuda.memory_reserved(device):
            torch.cuda.synchronize(device)
