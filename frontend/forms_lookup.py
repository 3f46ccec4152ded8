"""Forms of "Before you regenerate": the settings that determine a teacher artifact, in words, or a request as JSON."""

from collections.abc import Mapping
from typing import Any, get_origin

from django import forms
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from frontend.forms import Lists, PasteForm, Values, flattened, nested, one_field, refuse, text_input
from frontend.spec_words import CHOICES, WORDS, Words
from registry.accounting.plan import DETERMINING, ENGINE, OVERLONG_ROWS
from registry.accounting.presets import PRESETS, paper
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import KD, SYNTHETIC_SFT
from registry.accounting.sweeps import settings_of
from registry.models import Artifact, Study

# A pipeline that needs the artifact: what it needs and the rest of its spec is what REST is asked, too.
PIPELINE_FOR = {"logit_cache": KD, "synthetic_dataset": SYNTHETIC_SFT}
# What no spec says, under the names that REST has for it, with what is meant where it is left out.
BEYOND = {"engine": ENGINE, "overlong_rows": OVERLONG_ROWS}
_SETTINGS = {
    name: (hint, default) for name, hint, default in settings_of() if any(name in some for some in DETERMINING.values())
}

# Where the question is for an artifact rather than for a run, other words than the run form's.
_WORDS: dict[str, Words] = {
    "teacher.revision": (_("Revision"), _("Of its weights: branch, tag or commit.")),
    "dataset.revision": (
        _("Revision"),
        _("Its rows are compared, so a copy by another name is found."),
    ),
    "dataset.train_rows": (_("Rows"), _("So many the teacher reads; of a synthetic dataset, its prompts.")),
    "dataset.validation_rows": (_("Validation rows"), _("Set apart first, so they decide which rows are left.")),
    "dataset.evaluation_rows": (_("Evaluation rows"), _("Set apart as well.")),
    "dataset.split_seed": (_("Split seed"), _("Which rows are drawn.")),
    "distillation.k": (_("k"), _("Logits kept a token. A cache with more serves too.")),
    "distillation.temperatures": (_("Temperatures"), _("With commas between them; each must be held exactly.")),
    "decoding.top_p": (_("Top-p"), _("Only the likeliest tokens up to this mass are drawn from; 1 is all.")),
    "decoding.max_new_tokens": (_("New tokens at most"), _("A dataset with longer answers serves too: they are cut.")),
    "decoding.seed": (_("Decoding seed"), _("Another seed is another draw.")),
}
# css class, title, help, which fields
_GROUPS: tuple[tuple[str, str | Promise, str | Promise, tuple[str, ...]], ...] = (
    ("", _("Teacher"), "", ("teacher.", "engine")),
    ("", _("Rows"), _("Which rows the teacher reads, in the words of a run."), ("dataset.", "overlong_rows")),
    ("only-logit_cache", _("Logit cache"), _("Read for a logit cache, ignored for anything else."), ("distillation.",)),
    (
        "only-synthetic_dataset",
        _("Synthetic dataset"),
        _("How the teacher answers. Read for a synthetic dataset, ignored for anything else."),
        ("decoding.",),
    ),
)


class PresetForm(forms.Form):
    """Whose values fill the form in."""

    preset = forms.ChoiceField(label=_("Preset"), choices=[(name, name) for name in PRESETS])


class NeedForm(forms.Form):
    """A teacher artifact, described by the settings that determine it; those of another kind are not read."""

    kind = forms.ChoiceField(
        label=_("Kind of artifact"), choices=[(kind, Artifact.Kind(kind).label) for kind in DETERMINING]
    )
    engine = forms.CharField(label=_("Engine"), max_length=200, help_text=_("Workers here run transformers."))
    overlong_rows = forms.ChoiceField(
        label=_("Rows that are longer"),
        choices=[("drop", _("dropped, as workers do")), ("truncate", _("cut to that length"))],
    )

    def __init__(self, given: Mapping[str, str] | None, *, start: RunSpec, studies: Any = None) -> None:
        """`given`: what an address says, what it leaves out as in `start`; `None` opens the form with `start`.

        `studies`: of whom one asks; without them the form does not ask which.
        """
        values = {name: written(value) for name, value in flattened(start).items() if name in _SETTINGS} | BEYOND
        kind = (given or {}).get("kind", next(iter(DETERMINING)))
        read = {"study", "kind", *BEYOND, *DETERMINING.get(kind, ())}
        known = {name: value for name, value in (given or {}).items() if name in read}
        first = studies.first() if studies is not None else None
        opening = values | {"kind": kind, "study": first.slug if first else ""}
        super().__init__(None if given is None else opening | known, initial=opening, auto_id="need_%s")
        self.start = start
        if studies is not None:
            self.fields["study"] = study_field(studies)
        for name, (hint, default) in _SETTINGS.items():
            self.fields[name] = _field(name, hint, required=default != "")
        usual = {name: values[name] for name in _SETTINGS.keys() - read}
        said = {name: (given or {}).get(name, text) for name, text in usual.items()}
        self.ignored = [self.fields[name].label for name in _SETTINGS if name in said and said[name] != usual[name]]

    @property
    def groups(self) -> list[tuple[Any, Any, str, list[forms.BoundField]]]:
        """(title, help, css class, fields) for the template."""
        return [
            (title, text, css, [self[name] for start in starts for name in self.fields if name.startswith(start)])
            for css, title, text, starts in (self._first, *_GROUPS)
        ]

    @property
    def _first(self) -> tuple[str, str | Promise, str | Promise, tuple[str, ...]]:
        """What is needed, on whose behalf; or what somebody has."""
        return ("", _("What you need") if "study" in self.fields else _("What it is"), "", ("kind", "study"))

    def clean(self) -> Values:
        """With `spec`, read by the spec's own reader: each of its refusals lands beside its field."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        values = {name: cleaned[name] for name in _SETTINGS}
        if cleaned["kind"] == "logit_cache" and values["distillation.temperatures"]:
            values["distillation.temperature"] = values["distillation.temperatures"][0]
        asked = nested(values | {"pipeline": PIPELINE_FOR[cleaned["kind"]]})
        start = self.start.to_dict()
        try:
            cleaned["spec"] = RunSpec.from_dict(
                {key: start[key] | part if isinstance(part, dict) else part for key, part in (start | asked).items()}
            )
        except SpecError as error:
            refuse(self, error.problems)
        return cleaned

    @property
    def beyond(self) -> Values:
        """What no spec says, as far as it differs from what is meant without it."""
        said: Values = {name: self.cleaned_data[name] for name in BEYOND}
        said = {name: value for name, value in said.items() if value != BEYOND[name]}
        return said | ({"every_temperature": True} if self.cleaned_data["kind"] == "logit_cache" else {})


def _field(name: str, hint: Any, *, required: bool) -> forms.Field:
    label, help_text = _WORDS.get(name, WORDS[name])
    words: Values = {"label": label, "help_text": help_text, "required": required}
    if name in CHOICES:
        return forms.ChoiceField(choices=[(value, value) for value in CHOICES[name]], **words)
    if get_origin(hint) is tuple:
        return Lists(**words)
    return one_field(hint)(widget=text_input(name, hint), **words)


def written(value: Any) -> str:
    """A setting's value as a person types it."""
    return str(Lists().prepare_value(value if isinstance(value, list | tuple) else [value]))


def study_field(studies: Any) -> forms.Field:
    """The study whose project asks."""
    return forms.ModelChoiceField(
        queryset=studies,
        to_field_name="slug",
        label=_("On behalf of the study"),
        empty_label=None,
        help_text=_("What its project may use is offered."),
    )


class LookupForm(PasteForm):
    """A run spec, or a request for one artifact."""

    study = forms.ModelChoiceField(queryset=Study.objects.none())  # replaced by those the person sees

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"] = study_field(studies)


def opening(preset: str) -> RunSpec:
    """What the form opens with: the paper's values, or a preset's."""
    return PRESETS[preset](KD) if preset in PRESETS else paper("1B", KD)
