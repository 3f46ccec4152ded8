"""Forms of the artifact pages: who may use it, under what licence, and what was made elsewhere."""

import json
from collections.abc import Mapping
from typing import Any, Self

from django import forms
from django.utils.translation import gettext_lazy as _

from registry.models import Artifact, Project
from registry.services.artifacts import SHARED_KINDS

Values = dict[str, Any]
TRAINING = [("", _("nobody has said")), ("yes", _("yes")), ("no", _("no"))]
TRI_STATE = {"": None, "yes": True, "no": False}


class SharingForm(forms.Form):
    """Who may use an artifact beside its project."""

    sharing = forms.ChoiceField(label=_("May be used by"), choices=Artifact.Sharing.choices)


class LicenceForm(forms.Form):
    """A stricter licence, and why."""

    licence = forms.CharField(label=_("Licence"), max_length=200, help_text=_("SPDX expression, stricter than now."))
    name = forms.CharField(label=_("Name of a custom licence"), max_length=200, required=False)
    link = forms.CharField(label=_("Link to its text"), max_length=500, required=False)
    may_train = forms.ChoiceField(label=_("May its outputs train other models?"), choices=TRAINING, required=False)
    note = forms.CharField(label=_("Why"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def clean_may_train(self) -> bool | None:
        """Yes, no or nobody has said."""
        return TRI_STATE[self.cleaned_data["may_train"]]

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Filled in with what stands."""
        said = {True: "yes", False: "no", None: ""}[artifact.may_train]
        initial = {"licence": artifact.licence, "name": artifact.licence_name, "link": artifact.licence_link}
        return cls(initial=initial | {"may_train": said}, auto_id="licence_%s")


class WithdrawForm(forms.Form):
    """Never to be offered again, and why."""

    reason = forms.CharField(label=_("Why it is withdrawn"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class SupersedeForm(forms.Form):
    """A better one, and why it is better."""

    by = forms.UUIDField(label=_("Id of the better one"), help_text=_("The last part of its page's address."))
    reason = forms.CharField(label=_("Why it is better"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class AliasForm(forms.Form):
    """A second name for a version."""

    alias = forms.CharField(
        label=_("Alias"),
        max_length=60,
        help_text=_("Such as stable. Where another version of the name has it, it moves here."),
    )


class RegisterForm(forms.Form):
    """An artifact that was made elsewhere. What determines it comes as JSON, as a lookup takes it."""

    project = forms.ModelChoiceField(
        label=_("Project"), queryset=Project.objects.none(), to_field_name="slug", empty_label=None
    )
    kind = forms.ChoiceField(label=_("Kind"), choices=[(kind.value, kind.label) for kind in SHARED_KINDS])
    name = forms.CharField(label=_("Name"), max_length=200, help_text=_("What people call it."))
    dataset = forms.CharField(label=_("Dataset"), max_length=200, required=False)
    request = forms.CharField(
        label=_("What determines it"),
        widget=forms.Textarea(attrs={"spellcheck": "false", "rows": 12}),
        help_text=_("One JSON object with identity, capture and row_digests, as a lookup takes them."),
    )
    energy_kwh = forms.FloatField(
        label=_("Production energy in kWh"),
        required=False,
        min_value=0,
        max_value=1e9,
        widget=forms.NumberInput(attrs={"step": "any"}),
        help_text=_("Of all attempts. Leave it empty if it is not known, or if records say it."),
    )
    evidence = forms.CharField(
        label=_("Stage records that it comes from"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_("record_id of each, one a line; the energy is their sum."),
    )
    evidence_note = forms.CharField(
        label=_("Without records: where the figure comes from"),
        required=False,
        max_length=2000,
        help_text=_("It is shown beside the figure, marked as not measured."),
    )
    teacher_licence = forms.CharField(label=_("Teacher's licence"), max_length=200, required=False)
    dataset_licence = forms.CharField(label=_("Dataset's licence"), max_length=200, required=False)
    licence = forms.CharField(
        label=_("Its own licence"),
        max_length=200,
        required=False,
        help_text=_("SPDX expression. Empty: both of the above, joined by AND."),
    )
    licence_name = forms.CharField(label=_("Name of a custom licence"), max_length=200, required=False)
    licence_link = forms.CharField(label=_("Link to its text"), max_length=500, required=False)
    may_train = forms.ChoiceField(label=_("May its outputs train other models?"), choices=TRAINING, required=False)

    def __init__(self, *args: Any, projects: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]  # a model choice

    def clean_request(self) -> Values:
        """The three parts of the request. Raises `ValidationError`."""
        from frontend.views import pasted

        try:
            document = pasted.read(self.cleaned_data["request"])
        except pasted.Unreadable as error:
            raise forms.ValidationError(str(error)) from error
        known = {"identity", "capture", "row_digests"}
        if not isinstance(document, dict) or document.keys() - known - {"kind"} or "identity" not in document:
            raise forms.ValidationError(_("Give one JSON object with identity, and perhaps capture and row_digests."))
        return {name: document[name] for name in known & document.keys()}

    def clean_evidence(self) -> list[str]:
        """One record_id a line."""
        return [line.strip() for line in self.cleaned_data["evidence"].splitlines() if line.strip()]

    def clean(self) -> Values:
        """A figure says what it rests on."""
        cleaned = super().clean() or {}
        stated = cleaned.get("energy_kwh") is not None
        if stated and not cleaned.get("evidence") and not cleaned.get("evidence_note", "").strip():
            self.add_error("evidence_note", _("Name the records of the energy, or say where the figure comes from."))
        return cleaned

    def item(self) -> Values:
        """The artifact as the service takes it."""
        given = self.cleaned_data
        texts = ("name", "dataset", "evidence_note", "teacher_licence", "dataset_licence", "licence")
        values = {name: given[name] for name in (*texts, "licence_name", "licence_link") if given[name]}
        energy = given["energy_kwh"]
        return {
            "kind": given["kind"],
            **given["request"],
            **values,
            "evidence": given["evidence"],
            "may_train": TRI_STATE[given["may_train"]],
            **({} if energy is None else {"production_energy_j": energy * 3.6e6}),
        }

    def refuse(self, problems: Mapping[str, Any]) -> None:
        """Put each refusal beside the field it names."""
        beside = {
            "identity": "request",
            "capture": "request",
            "row_digests": "request",
            "production_energy_j": "energy_kwh",
        }
        for name, text in problems.items():
            field = beside.get(name, name)
            self.add_error(field if field in self.fields else None, str(text))


EXAMPLE = json.dumps(
    {
        "identity": {
            "teacher": {"id": "organisation/model", "revision": "main", "digest": "sha256:…"},
            "tokenizer_digest": "sha256:…",
            "template_digest": "sha256:…",
            "precision": "bf16",
        },
        "capture": {"k": 100, "temperatures": [1, 2, 4], "encoding": "fp16", "max_length": 1024},
        "row_digests": ["sha256 of each row"],
    },
    indent=2,
)
