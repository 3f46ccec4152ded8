"""The floor: what an ideal run of the same work would burn on the same device.

Work is counted in floating-point operations and bytes moved, by formula; a dated table says what devices can do at
most; a stated share of that is taken as attainable, at a stated power. "× the floor" is measured energy over that.

Formulas, N parameters in the layers, L layers, h heads of size d_h (attention width a = h·d_h), V tokens in the
vocabulary, d wide, over sequences of length S (causal, so half of the square):

    forward, a position          2·N + 2·a·L·S          QKᵀ and AV, each 2·a·S/2 a layer
    head, a position it reads    2·V·d
    training                     3 × forward            one for the activations, two for the gradients
    generation, a token          forward at its length + head, and all weights read once a step of the batch
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

TRAINING_FACTOR = 3  # forward, and a backward pass of twice its size
ATTAINABLE = 0.5  # share of a device's peak that a good implementation reaches
ATTAINABLE_SMALL, SMALL = 0.4, 2e9  # and for models of fewer parameters than that, such as 1B
SIZES = {"M": 1e6, "B": 1e9}
POWER_SHARE = 650 / 700  # of the power limit while it does: 650 W of an H100's 700


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What the formulas need of a model. `parameters` are those of the layers, without embeddings and head."""

    parameters: int
    layers: int
    attention_width: int  # heads × size of a head
    vocabulary: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations and bytes of device memory moved; `bytes` is `None` where no formula was stated for them."""

    flops: float
    bytes: float | None = None

    def __add__(self, other: "Work") -> "Work":
        """Both; bytes are known only where both are."""
        known = self.bytes is not None and other.bytes is not None
        return Work(flops=self.flops + other.flops, bytes=(self.bytes or 0) + (other.bytes or 0) if known else None)


def forward_flops(model: ModelShape, *, positions: int, squared_lengths: float, head_positions: int) -> float:
    """Operations of one pass over sequences that have `positions` in all and Σ S² = `squared_lengths`.

    The head is applied at `head_positions` of them.
    """
    attention = 2.0 * model.attention_width * model.layers * squared_lengths
    return 2.0 * model.parameters * positions + attention + 2.0 * model.vocabulary * model.width * head_positions


def training_flops(model: ModelShape, *, positions: int, squared_lengths: float, head_positions: int) -> float:
    """Forward and backward. Computing activations anew (checkpointing) is no part of the ideal."""
    return TRAINING_FACTOR * forward_flops(
        model, positions=positions, squared_lengths=squared_lengths, head_positions=head_positions
    )


def decoding_work(model: ModelShape, *, prompt: int, answer: int, batch: float, bytes_per_weight: float) -> Work:
    """One answer of `answer` tokens to a prompt of `prompt`, decoded in a batch of `batch`.

    Bytes: at each step all weights are read once for the whole batch, so an answer bears its share of them.
    """
    length = prompt + answer
    flops = forward_flops(model, positions=length, squared_lengths=float(length) ** 2, head_positions=answer)
    weights = model.parameters + model.vocabulary * model.width
    return Work(flops=flops, bytes=answer * weights * bytes_per_weight / batch)


@dataclass(frozen=True, kw_only=True)
class Device:
    """Nominal peaks, dense, without sparsity; `stated` is when they were noted and how well they are known."""

    name: str
    bf16_flops_per_s: float
    fp32_flops_per_s: float
    bytes_per_s: float
    power_w: float
    stated: str

    def peak(self, precision: str) -> float:
        """Operations a second at most in `bf16` or `fp32`."""
        return self.bf16_flops_per_s if precision == "bf16" else self.fp32_flops_per_s


# Written down without the data sheets at hand: check a row before its figure is quoted.
_MAKER = "the maker's nominal peak, noted 2026-11, not checked against the data sheet"
DEVICES: tuple[Device, ...] = (
    Device(
        name="H200",
        bf16_flops_per_s=989e12,
        fp32_flops_per_s=67e12,
        bytes_per_s=4.8e12,
        power_w=700,
        stated=_MAKER,
    ),
    Device(
        name="H100 PCIe",
        bf16_flops_per_s=756e12,
        fp32_flops_per_s=51e12,
        bytes_per_s=2.0e12,
        power_w=350,
        stated=_MAKER,
    ),
    Device(
        name="H100",
        bf16_flops_per_s=989e12,
        fp32_flops_per_s=67e12,
        bytes_per_s=3.35e12,
        power_w=700,
        stated=_MAKER,
    ),
    Device(
        name="A100",
        bf16_flops_per_s=312e12,
        fp32_flops_per_s=19.5e12,
        bytes_per_s=2.039e12,
        power_w=400,
        stated=_MAKER,
    ),
)


def device_named(name: str) -> Device | None:
    """The table's row for a GPU as its driver names it, such as "NVIDIA H100 80GB HBM3"; `None` for one not in it."""
    for device in DEVICES:
        if all(word in name.replace("-", " ").split() for word in device.name.split()):
            return device
    return None


def attainable(size: str) -> float:
    """The share taken for a model whose size is written as 1B or 360M; where it is not, that of larger ones."""
    number, unit = size[:-1], SIZES.get(size[-1:])
    small = unit is not None and number.replace(".", "", 1).isdecimal() and float(number) * unit < SMALL
    return ATTAINABLE_SMALL if small else ATTAINABLE


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Time and energy of an ideal run, and what they rest on. `bound` says which limit holds: compute or memory."""

    energy_j: float
    duration_s: float
    bound: str
    device: str
    devices: int
    share: float
    power_w: float
    precision: str


def floor(
    work: Work,
    device: Device,
    *,
    precision: str = "bf16",
    share: float = ATTAINABLE,
    power_w: float | None = None,
    devices: int = 1,
) -> Floor:
    """The least energy for `work`: the longer of its operations and its bytes at `share` of the peaks, times the power.

    `power_w` is that of one device while it works, by default 650/700 of its limit. Several devices share the work and
    burn as much together as one would. Raises `ValueError` for a share that is no share.
    """
    if not 0 < share <= 1:
        raise ValueError(f"an attainable share of {share!r} is not above 0 and at most 1")
    if devices < 1:
        raise ValueError(f"{devices!r} devices do no work")
    watts = POWER_SHARE * device.power_w if power_w is None else power_w
    compute_s = work.flops / (share * device.peak(precision))
    memory_s = 0.0 if work.bytes is None else work.bytes / (share * device.bytes_per_s)
    device_s = max(compute_s, memory_s)
    return Floor(
        energy_j=device_s * watts,
        duration_s=device_s / devices,
        bound="memory" if memory_s > compute_s else "compute",
        device=device.name,
        devices=devices,
        share=share,
        power_w=watts,
        precision=precision,
    )


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """How far a stage was from its floor. Each is `None` where what it needs was not measured or is not known."""

    flops: float | None
    flops_per_s: float | None
    times_the_floor: float | None
    floor: Floor | None
    reason: str = ""  # why there is no floor


def efficiency(
    works: Sequence[Any],
    *,
    energy_j: float | None,
    duration_s: float | None,
    gpus: tuple[str, ...],
    share: float = ATTAINABLE,
) -> Efficiency:
    """From what each record of a stage says of its work (`flops`, `bytes`, `precision`), and the names of the GPUs.

    Nothing is known of a stage of which one record counted no work: a sum with a hole is no sum. The floor is that of
    the GPUs' own energy, so `energy_j` should be the GPUs' too. GPUs of several models have none.
    """
    if not works or not all(isinstance(work, Mapping) and _positive(work.get("flops")) for work in works):
        return Efficiency(flops=None, flops_per_s=None, times_the_floor=None, floor=None, reason="no work was counted")
    flops = math.fsum(work["flops"] for work in works)
    moved = math.fsum(work["bytes"] for work in works) if all(_positive(w.get("bytes")) for w in works) else None
    precisions = {work.get("precision") for work in works}
    rate = flops / duration_s if duration_s else None
    found = Efficiency(flops=flops, flops_per_s=rate, times_the_floor=None, floor=None)
    device = device_named(gpus[0]) if gpus else None
    if device is None or len(set(gpus)) > 1:
        said = "there was no GPU" if not gpus else f"the table of devices has no row for {', '.join(sorted(set(gpus)))}"
        return replace(found, reason=said)
    least = floor(
        Work(flops=flops, bytes=moved),
        device,
        # The faster of two: a floor may be too low, and says then that more was wasted, but never too high.
        precision="fp32" if precisions == {"fp32"} else "bf16",
        share=share,
        devices=len(gpus),
    )
    return replace(found, floor=least, times_the_floor=None if energy_j is None else energy_j / least.energy_j)


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


# ── The paper's grid: shapes that give the known operations a position, its nominal 30 M at length 1024 ──

PAPER_POSITIONS, PAPER_LENGTH = 30_000_000, 1024
PAPER_ANSWERS = 7000  # of up to 1024 tokens
_VOCABULARY = 100_352
PAPER_SHAPES = {
    "1B": ModelShape(parameters=1_073_741_824, layers=16, attention_width=2048, vocabulary=_VOCABULARY, width=2048),
    "7B": ModelShape(parameters=6_476_005_376, layers=32, attention_width=4096, vocabulary=_VOCABULARY, width=4096),
    "13B": ModelShape(parameters=12_687_769_600, layers=40, attention_width=5120, vocabulary=_VOCABULARY, width=5120),
    "32B": ModelShape(parameters=31_205_621_760, layers=64, attention_width=5120, vocabulary=_VOCABULARY, width=5120),
}


def paper_floor(stage: str, size: str, *, share: float | None = None) -> Floor | None:
    """The floor of a stage of table 3 for one student, on an H100 at 650 W, over its nominal 30 M positions.

    `None` for stages without a formula. At 1B a share of 0.4 is taken as attainable, else 0.5.
    """
    device = device_named("H100")
    assert device is not None  # noqa: S101 - it stands in the table above
    sequences = PAPER_POSITIONS / PAPER_LENGTH
    read: dict[str, Any] = {
        "positions": PAPER_POSITIONS,
        "squared_lengths": sequences * PAPER_LENGTH**2,
        "head_positions": PAPER_POSITIONS,
    }
    if stage == "student_training":
        work = Work(flops=training_flops(PAPER_SHAPES[size], **read))
        return floor(work, device, share=share or attainable(size))
    if stage == "logit_caching":
        return floor(Work(flops=forward_flops(PAPER_SHAPES["32B"], **read)), device, share=share or ATTAINABLE)
    return None
