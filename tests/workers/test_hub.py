"""Hub datasets: the columns of those the presets name, as their pages show them."""

import pytest
from datasets import Dataset

from registry.accounting.spec import DatasetSpec
from registry.workloads.rows import BadRows
from workers import hub
from workers.hub import hub_rows, row_of_columns

CHAT = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "later"},
    {"role": "assistant", "content": "left out"},
]


def test_of_a_chat_the_first_exchange_is_taken():
    row = row_of_columns({"id": "1", "messages": CHAT, "source": "x"}, "allenai/tulu-3-sft-mixture")
    assert (row.prompt, row.answer) == ("q", "a")


def test_a_system_turn_stands_before_the_question():
    row = row_of_columns({"messages": [{"role": "system", "content": "be brief"}, *CHAT]}, "org/chat")
    assert row.prompt == "be brief\n\nq"


def test_a_chat_without_an_answer_gives_no_row():
    assert row_of_columns({"messages": CHAT[:1]}, "org/chat") is None
    assert row_of_columns({"messages": [CHAT[1], CHAT[0]]}, "org/chat") is None


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
