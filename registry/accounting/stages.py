"""The pipelines and the stages they run, in order."""

from stagemeter.records import ROLE_OF_KIND

SFT = "sft"
KD = "kd"
SYNTHETIC_SFT = "synthetic_sft"
# The teacher itself on the study's suite: the denominator of Q, never a point on a frontier.
TEACHER_REFERENCE = "teacher_reference"

PIPELINES = (SFT, KD, SYNTHETIC_SFT)

STAGES_OF_PIPELINE: dict[str, tuple[str, ...]] = {
    SFT: ("preprocess", "student_training", "evaluation"),
    KD: ("preprocess", "logit_caching", "student_training", "evaluation"),
    SYNTHETIC_SFT: ("preprocess", "teacher_generation", "student_training", "evaluation"),
    TEACHER_REFERENCE: ("preprocess", "teacher_evaluation"),
}

# Parts of a spec that a pipeline never looks at: two specs that differ in them alone are one run.
UNREAD_BY_PIPELINE: dict[str, tuple[str, ...]] = {
    SFT: ("distillation", "decoding"),
    KD: ("decoding",),
    SYNTHETIC_SFT: ("distillation",),
    TEACHER_REFERENCE: ("student", "training", "distillation", "decoding"),
}

# What a stage leaves behind for others, and what it needs from those before it.
OUTPUT_OF_STAGE: dict[str, str | None] = {
    "preprocess": "prepared_dataset",
    "logit_caching": "logit_cache",
    "teacher_generation": "synthetic_dataset",
    "student_training": "student",
    "evaluation": None,
    "teacher_evaluation": None,
}
INPUTS_OF_STAGE: dict[str, dict[str, tuple[str, ...]]] = {
    SFT: {"student_training": ("prepared_dataset",), "evaluation": ("prepared_dataset", "student")},
    KD: {
        "logit_caching": ("prepared_dataset",),
        "student_training": ("prepared_dataset", "logit_cache"),
        "evaluation": ("prepared_dataset", "student"),
    },
    SYNTHETIC_SFT: {
        "teacher_generation": ("prepared_dataset",),
        "student_training": ("prepared_dataset", "synthetic_dataset"),
        "evaluation": ("prepared_dataset", "student"),
    },
    TEACHER_REFERENCE: {"teacher_evaluation": ("prepared_dataset",)},
}

TEACHER_ARTIFACTS = ("logit_cache", "synthetic_dataset")


def role_of(kind: str) -> str:
    """The role of a known stage kind. Raises `KeyError` for an unknown one, which must name its own."""
    return ROLE_OF_KIND[kind]
