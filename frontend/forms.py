"""Forms. The run form is made from the spec's own dataclasses, so a new setting needs a row of words and no more."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from django import forms
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.utils.translation import gettext_lazy as _

from frontend.spec_words import CHOICES, GROUPS, WORDS
from registry.accounting.figures import AMORTISED, FULL, MADE_TO_MEASURE, REUSED, STUDENT_ONLY
from registry.accounting.presets import PRESETS, SWEEPS, paper
from registry.accounting.spec import RunSpec, SpecError
from registry.accounting.stages import PIPELINES, SFT
from registry.accounting.sweeps import expand, settings_of
from registry.models import Factor, StageReview, Study

Values = dict[str, Any]


class LoginForm(AuthenticationForm):
    """Name and password."""


class PresetForm(forms.Form):
    """Which preset fills the run form in."""

    preset = forms.ChoiceField(label=_("Preset"), choices=[(name, name) for name in (*PRESETS, *SWEEPS)])
    pipeline = forms.ChoiceField(label=_("Pipeline"), choices=[(name, name) for name in PIPELINES])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The run form on the same page has a field of the same name.
        super().__init__(*args, **{"auto_id": "preset_%s", **kwargs})


class RunForm(forms.Form):
    """Every setting of a run under its dotted name, and the study it belongs to.

    A setting may hold several values, which makes it a sweep: every combination is a run.
    """

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"] = forms.ModelChoiceField(
            queryset=studies,
            to_field_name="slug",
            label=_("Study"),
            empty_label=None,
            help_text=_("Runs of one study stand on one frontier."),
        )
        for name, hint, default in settings_of():
            self.fields[name] = _field(name, hint, default)

    @property
    def groups(self) -> list[tuple[Any, Any, str, list[forms.BoundField]]]:
        """(title, help, css class, fields) for the template, in the order in which a person decides."""
        return [
            (title, text, css, [self[name] for name in self.fields if name.rpartition(".")[0] == prefix])
            for prefix, title, text, css in GROUPS
        ]

    def clean(self) -> Values:
        """The grid and its runs, read by the spec's own reader: each of its refusals lands beside its field."""
        cleaned = super().clean() or {}
        if not self.errors:
            self.grid = nested({n: v for n, v in cleaned.items() if n != "study"})
            try:
                self.specs = expand([self.grid]).specs
            except SpecError as error:
                self.refuse(error.problems)
        return cleaned

    def refuse(self, problems: Mapping[str, Any]) -> None:
        """Put each refusal beside the field it names, or on top where it names none."""
        refuse(self, problems)


def refuse(form: forms.Form, problems: Mapping[str, Any]) -> None:
    """Put each refusal beside the field of the form that it names, or on top where it names none."""
    for name, text in problems.items():
        for known in (name, f"{name}.id", None):
            if known is None or known in form.fields:
                form.add_error(known, str(text) if known else f"{name}: {text}")
                break


class Several(forms.CharField):
    """One value, or several with commas between them: a sweep over them. Each is cleaned by a field of its own."""

    def __init__(self, one: forms.Field, **options: Any) -> None:
        super().__init__(**options)
        self.one = one

    def prepare_value(self, value: Any) -> Any:
        """One value or several as a person writes them."""
        return ", ".join(map(_written, value)) if isinstance(value, list | tuple) else _written(value)

    def clean(self, value: Any) -> Any:
        """The value, or a list where there are several. Raises `ValidationError` naming what is none."""
        parts = [part.strip() for part in super().clean(value).split(",") if part.strip()]
        values = [self.one.clean(part) for part in parts]
        return values if len(values) > 1 else values[0] if values else ""


class Lists(forms.CharField):
    """Numbers with commas between them, which are one value; with semicolons between lists, a sweep over lists."""

    def prepare_value(self, value: Any) -> Any:
        """A list, or several, as a person writes them."""
        if not isinstance(value, list | tuple):
            return value
        if value and isinstance(value[0], list | tuple):
            return "; ".join(str(self.prepare_value(part)) for part in value)
        return ", ".join(map(_written, value))

    def clean(self, value: Any) -> Any:
        """A list of numbers, or of lists. Raises `ValidationError` naming what is none."""
        try:
            lists = [[float(n) for n in part.split(",") if n.strip()] for part in super().clean(value).split(";")]
        except ValueError as error:
            raise forms.ValidationError(_("Give numbers with commas between them.")) from error
        return lists if len(lists) > 1 else lists[0]


class Choices(forms.MultipleChoiceField):
    """One of a few words, or several: a sweep over them."""

    widget = forms.CheckboxSelectMultiple

    def to_python(self, value: Any) -> list[str]:
        """The words chosen."""
        return super().to_python([value] if isinstance(value, str) and value else value)

    def clean(self, value: Any) -> Any:
        """The word, or a list where there are several."""
        words = super().clean(value)
        return words[0] if len(words) == 1 else words


def _written(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _field(name: str, hint: Any, default: Any) -> forms.Field:
    label, help_text = WORDS[name]
    common: Values = {"label": label, "help_text": help_text, "required": default != ""}
    if name in CHOICES:
        options = [(value, value.replace("_", " ")) for value in CHOICES[name]]
        if get_origin(hint) is tuple:
            return forms.MultipleChoiceField(choices=options, widget=forms.CheckboxSelectMultiple, **common)
        return Choices(choices=options, **common)
    if get_origin(hint) is tuple and get_args(hint)[0] is float:
        return Lists(**common)
    return Several(one_field(hint)(), widget=text_input(name, hint), **common)


def one_field(hint: Any) -> type[forms.Field]:
    """The field that reads one value of a setting of this type."""
    return {int: forms.IntegerField, float: forms.FloatField}.get(hint, ShortText)


class ShortText(forms.CharField):
    """A text as long as a spec takes it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 200} | options)


def text_input(name: str, hint: Any) -> forms.TextInput:
    """What a setting is typed into: with the right keyboard, and suggestions where some are known."""
    keyboard = {int: {"inputmode": "numeric"}, float: {"inputmode": "decimal"}}.get(hint, _suggestions(name))
    return forms.TextInput(attrs={"autocomplete": "off", **keyboard})


def _suggestions(name: str) -> dict[str, str]:
    known = {"teacher.id": "known-models", "student.id": "known-models", "dataset.id": "known-datasets"}
    return {"list": known[name]} if name in known else {}


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


def flattened(spec: RunSpec | Mapping[str, Any]) -> Values:
    """The values of a spec, or of a grid, by dotted name: what fills the form in."""
    values = spec.to_dict() if isinstance(spec, RunSpec) else spec
    known = paper("1B", SFT).to_dict()
    return {name: _at(values, name, _at(known, name, "")) for name, _hint, _default in settings_of()}


def _at(tree: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    value: Any = tree
    for part in name.split("."):
        value = value.get(part, otherwise) if isinstance(value, Mapping) else otherwise
    return value


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


class ImportForm(forms.Form):
    """A file of another tool, and the study it goes to."""

    file = forms.FileField(label=_("File"))
    study = forms.ModelChoiceField(
        label=_("Study"), queryset=Study.objects.none(), to_field_name="slug", empty_label=None
    )
    keep_names = forms.BooleanField(
        label=_("Keep host names, user names and home folders"),
        required=False,
        help_text=_("Otherwise they are taken out of what is kept."),
    )

    def __init__(self, *args: Any, studies: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["study"].queryset = studies  # type: ignore[attr-defined]  # a model choice

    def clean_file(self) -> Any:
        """The file, if it is not beyond the cap."""
        upload = self.cleaned_data["file"]
        if upload.size > settings.MAX_IMPORT_BYTES:
            limit = settings.MAX_IMPORT_BYTES // 2**20
            raise forms.ValidationError(_("The file is larger than %(limit)d MB; split it.") % {"limit": limit})
        return upload


class ReviewForm(forms.Form):
    """What somebody says of a record."""

    verdict = forms.ChoiceField(choices=StageReview.Verdict.choices)
    reason = forms.CharField(max_length=2000)
