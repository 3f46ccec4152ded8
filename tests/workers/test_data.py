"""Chat template, labels and batches: where positions, pads and end marks go wrong silently."""

import pytest
import torch

from registry.workloads.rows import Row, Turn, WorkloadError
from tests.workers import tiny
from workers.data import Chat, by_length, collate, encode, label_states

CPU = torch.device("cpu")


def test_labels_are_the_answer_and_its_end_mark_and_nothing_of_the_prompt():
    chat = tiny.chat()
    example = chat.example(Row("Hot or cold?", "Hot."))
    ((start, end),) = example.spans
    assert chat.tokenizer.decode(example.ids[:start]).endswith("<|im_start|>assistant\n")
    assert chat.tokenizer.decode(example.ids[start:end]) == "Hot.<|im_end|>"
    assert end == len(example.ids)


CONVERSATION = Row(
    "And now?", "Cold.", before=(Turn("system", "be brief"), Turn("user", "Hot or cold?"), Turn("assistant", "Hot."))
)


def test_every_answer_of_a_conversation_is_label_and_no_turn_of_another():
    chat = tiny.chat()
    example = chat.example(CONVERSATION)
    assert [chat.tokenizer.decode(example.ids[start:end]) for start, end in example.spans] == [
        "Hot.<|im_end|>",
        "Cold.<|im_end|>",
    ]
    turns = [{"role": turn.role, "content": turn.content} for turn in CONVERSATION.before]
    turns += [{"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Cold."}]
    whole = chat.tokenizer.apply_chat_template(turns, tokenize=False)
    assert chat.tokenizer.decode(example.ids) + "\n" == whole
    batch = collate([example], CPU)
    assert batch.ids.reshape(-1)[batch.select + 1].tolist() == batch.targets.tolist()
    assert batch.labels == len("Hot.") + len("Cold.") + 2
    assert list(example.ids[: example.spans[-1][0]]) == chat.prompt_of(CONVERSATION)


def test_a_template_that_rewrites_earlier_answers_is_refused_for_conversations_alone():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content'] +", "(message['content'] if loop.last or message['role'] != 'assistant' else '…') +"
    )
    chat = Chat(tokenizer)
    assert chat.example(Row("a", "b")).labels == 2
    with pytest.raises(WorkloadError, match="changes an answer"):
        chat.example(CONVERSATION)


def test_the_position_before_a_token_is_the_one_that_predicts_it():
    chat = tiny.chat()
    example = chat.example(Row("a", "bc"))
    batch = collate([example], CPU)
    ((start, end),) = example.spans
    assert batch.targets.tolist() == list(example.ids[start:end])
    assert batch.select.tolist() == list(range(start - 1, end - 1))
    assert batch.ids.reshape(-1)[batch.select + 1].tolist() == batch.targets.tolist()


def test_padding_changes_no_hidden_state_and_adds_no_label():
    _, examples = encode(tiny.chat(), tiny.rows(5), 200)
    model = tiny.model()
    together = collate(examples, CPU)
    with torch.inference_mode():
        alone = torch.cat([label_states(model, collate([example], CPU)) for example in examples])
        torch.testing.assert_close(label_states(model, together), alone, rtol=1e-4, atol=1e-4)
    assert together.padding > 0
    assert together.labels == sum(example.labels for example in examples)
    assert together.prompt_tokens == sum(len(example.ids) - example.labels for example in examples)
    assert together.ids.numel() == together.prompt_tokens + together.labels + together.padding


def test_the_end_mark_is_trained_although_it_is_also_the_padding_id():
    chat = tiny.chat()
    assert chat.tokenizer.pad_token_id == chat.end
    _, examples = encode(chat, tiny.rows(4), 200)
    batch = collate(examples, CPU)
    assert (batch.targets == chat.end).sum() == len(examples)


def test_rows_above_the_limit_are_left_out_whole():
    chat = tiny.chat()
    rows = [Row("short", "yes"), Row("long " * 40, "no")]
    kept, examples = encode(chat, rows, 60)
    assert kept == rows[:1]
    assert len(examples) == 1
    assert max(len(example.ids) for example in examples) <= 60


def test_batches_keep_to_their_rows_and_tokens_and_lose_nothing():
    _, examples = encode(tiny.chat(), tiny.rows(20), 200)
    batches = list(by_length(examples, 6, 200))
    assert sorted(e.digest for batch in batches for e in batch) == sorted(e.digest for e in examples)
    for batch in batches:
        assert len(batch) <= 6
        assert len(batch) * max(len(e.ids) for e in batch) <= 200
    assert [len(batch) for batch in by_length(examples, 4, 1)] == [1] * 20


def test_a_template_that_puts_something_between_prompt_and_answer_is_refused():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    with pytest.raises(WorkloadError, match="right behind the prompt"):
        Chat(tokenizer)
