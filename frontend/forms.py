"""Forms. The run form is made from the spec's own dataclasses, so a new setting needs a row of words and no more."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import gettext_lazy as _

from frontend.spec_words import CHOICES, GROUPS, WORDS
from registry.accounting.figures import AMORTISED, FULL, MADE_TO_MEASURE, REUSED, STUDENT_ONLY
from registry.accounting.presets import PRESETS
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import PIPELINES
from registry.models import Factor, Study

Values = dict[str, Any]


class LoginForm(AuthenticationForm):
    """Name and password."""


class PresetForm(forms.Form):
    """Which preset fills the run form in."""

    preset = forms.ChoiceField(label=_("Preset"), choices=[(name, name) for name in PRESETS])
    pipeline = forms.ChoiceField(label=_("Pipeline"), choices=[(name, name) for name in PIPELINES])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The run form on the same page has a field of the same name.
        super().__init__(*args, **{"auto_id": "preset_%s", **kwargs})


class RunForm(forms.Form):
    """Every setting of a run under its dotted name, and the study it belongs to."""

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"] = forms.ModelChoiceField(
            queryset=studies,
            to_field_name="slug",
            label=_("Study"),
            empty_label=None,
            help_text=_("Runs of one study stand on one frontier."),
        )
        for name, hint, default in spec_fields():
            self.fields[name] = _field(name, hint, default)

    @property
    def groups(self) -> list[tuple[Any, Any, str, list[forms.BoundField]]]:
        """(title, help, css class, fields) for the template, in the order in which a person decides."""
        return [
            (title, text, css, [self[name] for name in self.fields if name.rpartition(".")[0] == prefix])
            for prefix, title, text, css in GROUPS
        ]

    def clean(self) -> Values:
        """The spec, read by its own reader: each of its refusals lands beside its field."""
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.spec = RunSpec.from_dict(nested({n: v for n, v in cleaned.items() if n != "study"}))
            except SpecError as error:
                self.refuse(error.problems)
        return cleaned

    def refuse(self, problems: Mapping[str, Any]) -> None:
        """Put each refusal beside the field it names, or on top where it names none."""
        for name, text in problems.items():
            for known in (name, f"{name}.id", None):
                if known is None or known in self.fields:
                    self.add_error(known, str(text) if known else f"{name}: {text}")
                    break


def spec_fields() -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type, default or MISSING) of every setting of a run spec."""
    yield from _walk(RunSpec, "")


def _walk(cls: type, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    hints = get_type_hints(cls)
    for spec_field in fields(cls):
        hint, name = hints[spec_field.name], f"{prefix}{spec_field.name}"
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _walk(hint, f"{name}.")
        else:
            yield name, hint, spec_field.default


class Numbers(forms.CharField):
    """Numbers with commas between them."""

    def prepare_value(self, value: Any) -> Any:
        """A list as a person writes it."""
        return ", ".join(f"{number:g}" for number in value) if isinstance(value, list | tuple) else value

    def clean(self, value: Any) -> list[float]:
        """The numbers. Raises `ValidationError` naming what is none."""
        text = super().clean(value)
        try:
            return [float(part) for part in text.replace(";", ",").split(",") if part.strip()]
        except ValueError as error:
            raise forms.ValidationError(_("Give numbers with commas between them.")) from error


def _field(name: str, hint: Any, default: Any) -> forms.Field:
    label, help_text = WORDS[name]
    common: Values = {"label": label, "help_text": help_text, "required": default != ""}
    if name in CHOICES:
        options = [(value, value.replace("_", " ")) for value in CHOICES[name]]
        if get_origin(hint) is tuple:
            return forms.MultipleChoiceField(choices=options, widget=forms.CheckboxSelectMultiple, **common)
        return forms.ChoiceField(choices=options, **common)
    if get_origin(hint) is tuple and get_args(hint)[0] is float:
        return Numbers(**common)
    if hint is int:
        return forms.IntegerField(**common)
    if hint is float:
        return forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}), **common)
    return forms.CharField(max_length=200, widget=forms.TextInput(attrs=_suggestions(name)), **common)


def _suggestions(name: str) -> dict[str, str]:
    known = {"teacher.id": "known-models", "student.id": "known-models", "dataset.id": "known-datasets"}
    return {"list": known[name], "autocomplete": "off"} if name in known else {"autocomplete": "off"}


def nested(flat: Mapping[str, Any]) -> Values:
    """`{"a.b": 1}` → `{"a": {"b": 1}}`."""
    tree: Values = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
    return tree


def flattened(spec: RunSpec) -> Values:
    """The spec's values by dotted name: what fills the form in."""
    found: Values = {}
    for name, _hint, default in spec_fields():
        value: Any = spec
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = list(value) if isinstance(value, tuple) and default is not MISSING else value
    return found


SCOPES = [
    (FULL, _("full: the whole teacher")),
    (MADE_TO_MEASURE, _("made to measure: what was used of it")),
    (AMORTISED, _("amortised: the teacher ÷ N")),
    (STUDENT_ONLY, _("student only: without the teacher")),
]


KINDS = {"false": False, "true": True}  # measured runs, simulated runs


class ViewForm(forms.Form):
    """The assumptions a reader can change on a study's page. Every combination is an address."""

    scope = forms.ChoiceField(label=_("Scope"), choices=SCOPES, required=False)
    n = forms.IntegerField(label=_("N students"), min_value=1, max_value=10**9, required=False)
    reused = forms.BooleanField(label=_("N as really reused"), required=False)
    hardware = forms.ChoiceField(label=_("Hardware"), required=False)
    pue = forms.FloatField(label=_("PUE"), min_value=1, max_value=10, required=False)
    grid = forms.ModelChoiceField(
        label=_("Grid"), queryset=Factor.objects.none(), required=False, empty_label=_("own value")
    )
    intensity = forms.FloatField(label=_("kg CO2e per kWh"), min_value=0, max_value=10, required=False)
    # Chosen by a link, since the classes of hardware differ; here so that a change of the rest keeps it.
    simulated = forms.ChoiceField(choices=[(kind, kind) for kind in KINDS], required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, hardware: tuple[str, ...], factors: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [("", _("all classes")), *((name, name or _("not stated")) for name in hardware)]
        self.fields["hardware"] = forms.ChoiceField(label=_("Hardware"), required=False, choices=choices)
        self.fields["grid"].queryset = factors  # type: ignore[attr-defined]  # a model choice
        for name in ("pue", "intensity"):
            self.fields[name].widget.attrs["step"] = "any"

    @property
    def assumptions(self) -> Values:
        """Scope, N, hardware, kind of runs, PUE and grid intensity, with what stands where nothing was asked for."""
        given = self.cleaned_data
        factor: Factor | None = given.get("grid")
        return {
            "scope": given.get("scope") or FULL,
            "n": REUSED if given.get("reused") else given.get("n") or 1,
            "hardware": given.get("hardware") or None,
            "simulated": KINDS.get(given.get("simulated", "")),
            "pue": given.get("pue") or 1.0,
            "intensity": factor.value if factor else given.get("intensity"),
            "factor": factor,
        }


class PasteForm(forms.Form):
    """JSON, pasted or as a file."""

    text = forms.CharField(label=_("JSON"), required=False, widget=forms.Textarea(attrs={"spellcheck": "false"}))
    file = forms.FileField(label=_("or a file"), required=False)

    def clean(self) -> Values:
        """One of the two, as text in `content`."""
        cleaned = super().clean() or {}
        upload = cleaned.get("file")
        if upload and upload.size > settings.MAX_BODY_BYTES:
            limit = settings.MAX_BODY_BYTES // 2**20
            raise forms.ValidationError(_("The file is larger than %(limit)d MB; split it.") % {"limit": limit})
        try:
            content = upload.read().decode() if upload else cleaned.get("text", "")
        except UnicodeDecodeError as error:
            raise forms.ValidationError(_("The file is not UTF-8 text.")) from error
        if not content.strip():
            raise forms.ValidationError(_("Paste something, or choose a file."))
        if "\x00" in content or "\\u0000" in content:
            raise forms.ValidationError(_("There is a null character in it, which no database text can hold."))
        return {**cleaned, "content": content}


class UploadForm(PasteForm):
    """Records or a run document."""

    study = forms.ModelChoiceField(
        label=_("Study for records without a run"),
        queryset=Study.objects.none(),
        to_field_name="slug",
        required=False,
        empty_label=_("none"),
        help_text=_("A run document names its study itself."),
    )

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"].queryset = studies  # type: ignore[attr-defined]  # a model choice


class LookupForm(PasteForm):
    """A run spec, or a request for one artifact."""

    study = forms.ModelChoiceField(
        label=_("On behalf of the study"), queryset=Study.objects.none(), to_field_name="slug", empty_label=None
    )

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"].queryset = studies  # type: ignore[attr-defined]  # a model choice
