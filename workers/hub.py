"""Hub datasets: rows through `datasets`, by the columns that each is known to have."""

from collections.abc import Mapping
from typing import Any

from registry.accounting.spec import DatasetSpec
from registry.workloads.files import ANSWER_KEYS, PROMPT_KEYS
from registry.workloads.rows import BadRows, Row

# id → (configuration, prompt column, answer column, short-answer column); the first two of a chat's turns otherwise.
COLUMNS: dict[str, tuple[str | None, str, str, str | None]] = {
    "open-r1/OpenR1-Math-220k": (None, "problem", "solution", "answer"),
    "open-r1/codeforces-cots": ("solutions", "prompt", "generation", None),
}
# Rows read per row asked for: over-long and empty ones drop out.
MARGIN = 2


def hub_rows(spec: DatasetSpec) -> tuple[Row, ...]:
    """Rows of the training split of a hub dataset, enough for `spec`, drawn by its split seed. Raises `BadRows`."""
    from datasets import load_dataset

    configuration = COLUMNS[spec.id][0] if spec.id in COLUMNS else None
    table = load_dataset(spec.id, configuration, revision=spec.revision, split="train")
    wanted = MARGIN * (spec.train_rows + spec.validation_rows + spec.evaluation_rows)
    drawn = table.shuffle(seed=spec.split_seed).select(range(min(wanted, len(table))))
    rows = [row_of_columns(item, spec.id) for item in drawn]
    return tuple(row for row in rows if row is not None)


def row_of_columns(item: Mapping[str, Any], dataset_id: str) -> Row | None:
    """One row, or `None` where prompt or answer is empty. Raises `BadRows` for columns nobody can map."""
    if dataset_id in COLUMNS:
        _, prompt, answer, short = COLUMNS[dataset_id]
        return _row(item[prompt], item[answer], item[short] if short else "")
    if "messages" in item:
        return _first_exchange(item["messages"])
    prompts = [key for key in PROMPT_KEYS if key in item]
    answers = [key for key in ANSWER_KEYS if key in item]
    if not prompts or not answers:
        raise BadRows(
            f"{dataset_id} has the columns {', '.join(item)}; a prompt ({', '.join(PROMPT_KEYS)}) and an answer "
            f"({', '.join(ANSWER_KEYS)}), or messages, are needed"
        )
    return _row(item[prompts[0]], item[answers[0]], "")


def _first_exchange(messages: list[Mapping[str, str]]) -> Row | None:
    """The first question and its answer; a system turn stands before the question. Later turns are left out."""
    system = [turn["content"] for turn in messages if turn["role"] == "system"][:1]
    turns = [turn for turn in messages if turn["role"] != "system"]
    if len(turns) < 2 or turns[0]["role"] != "user" or turns[1]["role"] != "assistant":
        return None
    return _row("\n\n".join([*system, turns[0]["content"]]), turns[1]["content"], "")


def _row(prompt: Any, answer: Any, short: Any) -> Row | None:
    if not isinstance(prompt, str) or not isinstance(answer, str) or not prompt.strip() or not answer.strip():
        return None
    return Row(prompt, answer, short=short if isinstance(short, str) else "")
