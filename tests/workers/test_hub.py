"""Hub datasets: the columns of those the presets name, as their pages show them."""

import pytest
from datasets import Dataset

from registry.accounting.spec import DatasetSpec
from registry.workloads.files import Columns
from registry.workloads.rows import BadRows, Turn
from workers import hub
from workers.hub import hub_rows, row_of_columns

CHAT = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "later"},
    {"role": "assistant", "content": "again"},
]


def test_every_turn_of_a_chat_is_taken():
    row = row_of_columns({"id": "1", "messages": CHAT, "source": "x"}, "allenai/tulu-3-sft-mixture")
    assert (row.prompt, row.answer) == ("later", "again")
    assert row.before == (Turn("user", "q"), Turn("assistant", "a"))


def test_a_system_turn_comes_first_and_a_last_question_without_an_answer_is_left_out():
    row = row_of_columns({"messages": [{"role": "system", "content": "be brief"}, *CHAT[:3]]}, "org/chat")
    assert (row.prompt, row.answer, row.before) == ("q", "a", (Turn("system", "be brief"),))


@pytest.mark.parametrize(
    "messages",
    [CHAT[:1], [CHAT[1], CHAT[0]], [*CHAT, CHAT[3]], [CHAT[0], {"role": "tool", "content": "x"}], "text", [None], []],
    ids=["no answer", "answer first", "two answers", "unknown role", "no list", "no turn", "empty"],
)
def test_what_is_no_conversation_gives_no_row(messages):
    assert row_of_columns({"messages": messages}, "org/chat") is None


def test_the_columns_a_spec_names_go_before_all_others():
    item = {"text": "q", "label": "a", "messages": CHAT}
    row = row_of_columns(item, "org/other", Columns("text", "label"))
    assert (row.prompt, row.answer) == ("q", "a")
    with pytest.raises(BadRows, match=r"a prompt \(words\).*name them in dataset.prompt_column"):
        row_of_columns(item, "org/other", Columns("words", "label"))


def test_openr1_math_takes_problem_and_solution_and_the_short_answer():
    item = {"problem": "1 + 1?", "solution": "It is 2.", "answer": "2", "generations": ["…"], "messages": CHAT}
    row = row_of_columns(item, "open-r1/OpenR1-Math-220k")
    assert (row.prompt, row.answer, row.short) == ("1 + 1?", "It is 2.", "2")


def test_codeforces_takes_prompt_and_generation():
    row = row_of_columns({"prompt": "solve", "generation": "code"}, "open-r1/codeforces-cots")
    assert (row.prompt, row.answer) == ("solve", "code")


def test_columns_nobody_can_map_are_named():
    with pytest.raises(BadRows, match="org/other has the columns text, label; a prompt"):
        row_of_columns({"text": "x", "label": 1}, "org/other")


def test_rows_are_drawn_by_the_split_seed_and_empty_ones_left_out(monkeypatch):
    table = Dataset.from_list([{"question": f"q{n}" if n % 5 else "", "answer": f"a{n}"} for n in range(100)])
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: asked.append((args, options)) or table)
    spec = DatasetSpec(id="org/name", revision="v2", train_rows=10, validation_rows=2, evaluation_rows=3)
    rows = hub_rows(spec)
    assert asked == [(("org/name", None), {"revision": "v2", "split": "train"})]
    assert len(rows) <= hub.MARGIN * 15
    assert all(row.prompt for row in rows)
    assert hub_rows(spec) == rows
