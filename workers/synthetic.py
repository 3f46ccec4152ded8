"""The synthetic dataset: the teacher's answers as JSONL, one object a line, written as they come."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from registry.workloads.rows import Row, Turn, WorkloadError
from workers.data import Chat, Example
from workers.storage import read_json, whole_file, write_json

ANSWERS, STREAM, MANIFEST = "answers.jsonl", "stream.jsonl", "manifest.json"


@dataclass(frozen=True)
class Answer:
    """A teacher's answer to a prompt. `ids` are without the end mark, `finished` says whether it came."""

    prompt_digest: str
    prompt: str
    text: str
    ids: tuple[int, ...]
    finished: bool
    before: tuple[Turn, ...] = ()  # the prompt

    def to_line(self) -> str:
        """One JSON line."""
        data = asdict(self)
        if not self.before:
            del data["before"]
        return json.dumps(data, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Answer":
        """Read what `to_line` wrote."""
        before = tuple(Turn(**turn) for turn in data.get("before", ()))
        return cls(**{**data, "ids": tuple(data["ids"]), "before": before})


def resume(stream: Path) -> dict[str, Answer]:
    """The answers an interrupted run has written, by prompt digest; a torn last line is cut off."""
    if not stream.is_file():
        return {}
    whole = stream.read_bytes()
    whole = whole[: whole.rfind(b"\n") + 1]
    with whole_file(stream) as temporary:
        temporary.write_bytes(whole)
    answers = [Answer.from_dict(json.loads(line)) for line in whole.decode().splitlines()]
    return {answer.prompt_digest: answer for answer in answers}


def finish(folder: Path, answers: Sequence[Answer], manifest: dict[str, Any]) -> None:
    """Write the dataset whole and in order, and drop the stream it grew in."""
    with whole_file(folder / ANSWERS) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.writelines(answer.to_line() for answer in answers)
    write_json(folder / MANIFEST, manifest)
    (folder / STREAM).unlink(missing_ok=True)


def read(folder: Path) -> Iterator[Answer]:
    """The answers of a finished dataset, in order."""
    with (folder / ANSWERS).open(encoding="utf-8") as lines:
        for line in lines:
            yield Answer.from_dict(json.loads(line))


def manifest_of(folder: Path) -> dict[str, Any]:
    """What the dataset says of itself."""
    return dict(read_json(folder / MANIFEST))


def truncate(answer: Answer, max_new_tokens: int, chat: Chat) -> Answer:
    """The answer as a smaller limit would have left it: the end mark takes one token of the limit."""
    if len(answer.ids) + answer.finished <= max_new_tokens:
        return answer
    ids = answer.ids[:max_new_tokens]
    return replace(answer, text=chat.text(ids), ids=ids, finished=False)


def examples(answers: Sequence[Answer], chat: Chat, max_length: int, *, same_tokens: bool) -> list[Example]:
    """Training examples: the prompt as the student renders it, the answer by ids where both share a tokenizer.

    The teacher's answer alone is label: what an assistant says before it is the dataset's.
    An answer cut short is trained without an end mark. Empty and over-long ones are left out.
    """
    made = []
    for answer in answers:
        prompt = chat.prompt_ids(answer.prompt, answer.before)
        reply = [*answer.ids, *([chat.end] if answer.finished else [])]
        if not same_tokens:
            reply = chat.answer_ids(answer.text, finished=answer.finished)
        if answer.text.strip() and len(prompt) + len(reply) <= max_length:
            span = (len(prompt), len(prompt) + len(reply))
            made.append(Example((*prompt, *reply), (span,), answer.prompt_digest))
    return made


def select(answers: Sequence[Answer], rows: Sequence[Row], digests: Sequence[str]) -> list[Answer]:
    """The answers to `rows`, in their order. Raises `WorkloadError` for a prompt the dataset does not answer."""
    by_digest = {answer.prompt_digest: answer for answer in answers}
    missing = [row.prompt for row, digest in zip(rows, digests, strict=True) if digest not in by_digest]
    if missing:
        raise WorkloadError(
            f"the synthetic dataset does not answer {len(missing)} prompts, such as {missing[0][:80]!r}"
        )
    return [by_digest[digest] for digest in digests]
