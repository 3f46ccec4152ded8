"""Hub datasets: rows through `datasets`, by the columns that each is known to have."""

from collections.abc import Mapping
from typing import Any

from registry.accounting.spec import DatasetSpec
from registry.workloads.files import ANSWER_KEYS, PROMPT_KEYS, USUAL, Columns, conversation
from registry.workloads.rows import BadRows, Row

# id → (configuration, prompt column, answer column, short-answer column). What a spec names goes before it.
COLUMNS: dict[str, tuple[str | None, str, str, str | None]] = {
    "open-r1/OpenR1-Math-220k": (None, "problem", "solution", "answer"),
    "open-r1/codeforces-cots": ("solutions", "prompt", "generation", None),
}
# Rows read per row asked for: over-long and empty ones drop out.
MARGIN = 2


def hub_rows(spec: DatasetSpec) -> tuple[Row, ...]:
    """Rows of the training split of a hub dataset, enough for `spec`, drawn by its split seed. Raises `BadRows`."""
    from datasets import load_dataset

    configuration = spec.configuration or (COLUMNS[spec.id][0] if spec.id in COLUMNS else None)
    table = load_dataset(spec.id, configuration, revision=spec.revision, split="train")
    wanted = MARGIN * (spec.train_rows + spec.validation_rows + spec.evaluation_rows)
    drawn = table.shuffle(seed=spec.split_seed).select(range(min(wanted, len(table))))
    rows = [row_of_columns(item, spec.id, Columns.of(spec)) for item in drawn]
    return tuple(row for row in rows if row is not None)


def row_of_columns(item: Mapping[str, Any], dataset_id: str, columns: Columns = USUAL) -> Row | None:
    """One row, or `None` where prompt or answer is empty. Raises `BadRows` for columns nobody can map."""
    _, prompt, answer, short = COLUMNS.get(dataset_id, (None, "", "", None))
    named = Columns(columns.prompt or prompt, columns.answer or answer)
    if "messages" in item and named == USUAL:
        return conversation(item["messages"])
    prompts = (named.prompt,) if named.prompt else PROMPT_KEYS
    answers = (named.answer,) if named.answer else ANSWER_KEYS
    asked, answered = ([key for key in keys if key in item][:1] for keys in (prompts, answers))
    if not asked or not answered:
        raise BadRows(
            f"{dataset_id} has the columns {', '.join(item)}; a prompt ({', '.join(prompts)}) and an answer "
            f"({', '.join(answers)}), or messages, are needed: name them in dataset.prompt_column and "
            "dataset.answer_column"
        )
    return _row(item[asked[0]], item[answered[0]], item.get(short) if short else "")


def _row(prompt: Any, answer: Any, short: Any) -> Row | None:
    if not isinstance(prompt, str) or not isinstance(answer, str) or not prompt.strip() or not answer.strip():
        return None
    return Row(prompt, answer, short=short if isinstance(short, str) else "")
