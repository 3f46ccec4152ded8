"""The words of the run form: a label and a sentence for every setting, under the spec's dotted names."""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.accounting.spec import ENCODINGS
from registry.accounting.stages import PIPELINES
from registry.workloads import benchmarks

Words = tuple[str | Promise, str | Promise]

# prefix of the fields, title, help, css class
GROUPS: tuple[tuple[str, str | Promise, str | Promise, str], ...] = (
    ("", _("Run"), "", ""),
    ("teacher", _("Teacher"), _("Taken whole; what it makes can serve every student of a sweep."), ""),
    ("student", _("Student"), "", ""),
    ("dataset", _("Data"), _("Rows that are too long are dropped and counted, never cut."), ""),
    ("training", _("Training"), _("Defaults of arXiv:2605.13981, section 5.1."), ""),
    ("distillation", _("Distillation"), _("Read by kd alone."), "only-kd"),
    ("decoding", _("Decoding"), _("How the teacher answers; read by synthetic_sft alone."), "only-synthetic_sft"),
    ("evaluation", _("Evaluation"), "", ""),
)

PRECISIONS = ("bf16", "fp32", "auto")
CHOICES: dict[str, tuple[str, ...]] = {
    "pipeline": PIPELINES,
    "teacher.precision": PRECISIONS[:2],
    "student.precision": PRECISIONS,
    "training.precision": PRECISIONS,
    "training.optimizer": ("adafactor", "adafactor_scaled", "adamw"),
    "training.weights": ("fp32", "stochastic", "nearest"),
    "training.padding": ("longest", "max_length"),
    "training.gradient_checkpointing": ("off", "on"),
    "training.schedule": ("cosine", "constant"),
    "distillation.encoding": tuple(ENCODINGS),
    "distillation.tail": ("bucket", "truncated"),
    "evaluation.suite": (*benchmarks.OWN, *benchmarks.HARNESS, *benchmarks.JUDGED),
}

WORDS: dict[str, Words] = {
    "pipeline": (_("Pipeline"), ""),
    "seed": (_("Seed"), _("Replicates differ by it alone.")),
    "teacher.id": (_("Model"), _("Local, or organisation/name on a hub.")),
    "teacher.revision": (_("Revision"), ""),
    "teacher.precision": (_("Precision"), _("Stated, since what it makes depends on it.")),
    "teacher.drop_layers": (_("Layers dropped"), _("Stays empty for a teacher.")),
    "student.id": (_("Model"), _("Local, or organisation/name on a hub.")),
    "student.revision": (_("Revision"), ""),
    "student.precision": (_("Precision"), _("auto: bf16 where the processor is fast at it.")),
    "student.drop_layers": (_("Layers dropped"), _("A block in the middle, such as 10-19.")),
    "dataset.id": (_("Dataset"), _("Local, or organisation/name on a hub.")),
    "dataset.revision": (_("Revision"), ""),
    "dataset.train_rows": (_("Training rows"), ""),
    "dataset.validation_rows": (_("Validation rows"), ""),
    "dataset.evaluation_rows": (_("Evaluation rows"), ""),
    "dataset.split_seed": (_("Split seed"), _("The same for every run that is to be compared.")),
    "dataset.max_length": (_("Longest row, tokens"), _("Prompt and answer together.")),
    "dataset.prompt_column": (_("Column of prompts"), _("Empty: prompt, question, instruction or messages.")),
    "dataset.answer_column": (_("Column of answers"), _("Empty: answer or response.")),
    "dataset.configuration": (_("Configuration"), _("Of a hub dataset that has several.")),
    "training.optimizer": (_("Optimiser"), _("Scaled: times the weights' own size.")),
    "training.learning_rate": (_("Learning rate"), ""),
    "training.schedule": (_("Schedule"), _("Its horizon is the step budget.")),
    "training.warmup_steps": (_("Warm-up steps"), ""),
    "training.batch_size": (_("Batch size"), _("Sequences at a time.")),
    "training.accumulation_steps": (_("Accumulation steps"), _("Batches to one optimiser step.")),
    "training.clip_norm": (_("Gradient clip"), ""),
    "training.precision": (_("Precision"), _("Of the products.")),
    "training.weights": (
        _("Weights"),
        _("bf16 rounded to the nearest, as in the paper's harness, loses small updates."),
    ),
    "training.padding": (_("Padding"), _("To the longest of a batch, or to the longest row there may be.")),
    "training.gradient_checkpointing": (_("Gradient checkpointing"), _("Less memory for a third more work.")),
    "training.max_steps": (_("Step budget"), _("Bounds every run, however it goes.")),
    "training.evaluate_every": (_("Validate every"), _("Steps.")),
    "training.early_stopping_delta": (_("Early stopping: least gain"), _("In validation loss.")),
    "training.early_stopping_patience": (_("Early stopping: patience"), _("Validations without that gain.")),
    "distillation.k": (_("k"), _("Logits kept a token.")),
    "distillation.temperatures": (_("Temperatures held"), _("One cache serves them all.")),
    "distillation.temperature": (_("Temperature T"), _("Of this run; among those held.")),
    "distillation.ce_weight": (_("Weight of cross-entropy α"), _("L = α·CE + (1 − α)·T²·KL.")),
    "distillation.encoding": (_("Encoding of logits"), _("u8: 8 bits each; u8z: the same, compressed.")),
    "distillation.tail": (
        _("Beyond the top k"),
        _("bucket: the rest as one token, exact in mass; truncated: left out."),
    ),
    "decoding.temperature": (_("Temperature"), _("0 is greedy.")),
    "decoding.top_p": (_("Top-p"), ""),
    "decoding.top_k": (_("Top-k"), _("0 is no limit.")),
    "decoding.max_new_tokens": (_("New tokens at most"), ""),
    "decoding.seed": (_("Decoding seed"), ""),
    "evaluation.suite": (_("Suite"), _("Judged benchmarks are run elsewhere and uploaded.")),
}
