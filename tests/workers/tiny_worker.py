"""A worker like any other, on models small enough for a test. Its teacher waits as long as a file says so."""

import os
import time
from pathlib import Path

import torch

from tests.workers import tiny
from workers.app import app
from workers.stages import (
    evaluation,
    logit_caching,
    preprocess,
    student_training,
    teacher_evaluation,
    teacher_generation,
)

__all__ = ["app"]
torch.set_num_threads(1)
HOLD = Path(os.environ["TINY_WORKER_HOLD"])


def load_model(spec, dtype):
    """Four layers, or two for a student."""
    from workers.models import drop_layers

    model = tiny.model(layers=4).to(dtype)
    if spec.drop_layers:
        drop_layers(model, 1, 2)
    return model


def load_teacher(spec, dtype):
    """The same, once nobody holds it back."""
    while HOLD.exists():
        time.sleep(0.05)
    return load_model(spec, dtype)


for module in (preprocess, logit_caching, teacher_generation, student_training, teacher_evaluation, evaluation):
    module.load_tokenizer = lambda spec: tiny.tokenizer()
for module in (student_training, teacher_evaluation):
    module.load_model = load_model
for module in (logit_caching, teacher_generation):
    module.load_model = load_teacher
