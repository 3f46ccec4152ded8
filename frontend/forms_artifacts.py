"""Forms of the artifact pages: who may use it, under what licence, and what was made elsewhere."""

from collections.abc import Mapping
from typing import Any, Self

from django import forms
from django.utils.translation import gettext_lazy as _

from registry.accounting.reuse import ArtifactRequest
from registry.accounting.units import JOULES_PER_KWH
from registry.models import Artifact, Project

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

    by = forms.CharField(
        label=_("The better one"), max_length=300, help_text=_("Its name@version, @version or its id.")
    )
    reason = forms.CharField(label=_("Why it is better"), max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))


class AliasForm(forms.Form):
    """A second name for a version."""

    alias = forms.CharField(
        label=_("Alias"),
        max_length=60,
        help_text=_("Such as stable. Where another version of the name has it, it moves here."),
    )


class RegisterForm(forms.Form):
    """An artifact that was made elsewhere. What determines it stands in a form of its own, or here as JSON."""

    project = forms.ModelChoiceField(
        label=_("Project"), queryset=Project.objects.none(), to_field_name="slug", empty_label=None
    )
    name = forms.CharField(label=_("Name"), max_length=200, help_text=_("What people call it."))
    rows = forms.CharField(
        label=_("Digest of each row"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=_("One a line. Empty: the rows chosen above, where they can be read here."),
    )
    request = forms.CharField(
        label=_("What determines it, as JSON"),
        required=False,
        widget=forms.Textarea(attrs={"spellcheck": "false", "rows": 12}),
        help_text=_(
            "One JSON object with kind, identity, capture and row_digests, or a run's spec, as a lookup takes it."
        ),
    )
    dataset = forms.CharField(label=_("Dataset"), max_length=200, required=False)
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

    def clean_rows(self) -> list[str]:
        """One digest a line."""
        return lines(self.cleaned_data["rows"])

    def clean_evidence(self) -> list[str]:
        """One record_id a line."""
        return lines(self.cleaned_data["evidence"])

    def clean(self) -> Values:
        """A figure says what it rests on."""
        cleaned = super().clean() or {}
        stated = cleaned.get("energy_kwh") is not None
        if stated and not cleaned.get("evidence") and not cleaned.get("evidence_note", "").strip():
            self.add_error("evidence_note", _("Name the records of the energy, or say where the figure comes from."))
        return cleaned

    def item(self, request: ArtifactRequest, dataset: str) -> Values:
        """The artifact as the service takes it."""
        given = self.cleaned_data
        texts = ("name", "evidence_note", "teacher_licence", "dataset_licence", "licence")
        values = {name: given[name] for name in (*texts, "licence_name", "licence_link") if given[name]}
        energy = given["energy_kwh"]
        return {
            "kind": request.kind,
            "identity": dict(request.identity),
            "capture": dict(request.capture),
            "row_digests": list(request.row_digests),
            "dataset": dataset,
            **values,
            "evidence": given["evidence"],
            "may_train": TRI_STATE[given["may_train"]],
            **({} if energy is None else {"production_energy_j": energy * JOULES_PER_KWH}),
        }

    def refuse(self, problems: Mapping[str, Any]) -> None:
        """Put each refusal beside the field it names."""
        named = "request" if self.cleaned_data["request"].strip() else "rows"
        beside = dict.fromkeys(("kind", "identity", "capture", "row_digests", "request"), named)
        for name, text in problems.items():
            field = (beside | {"production_energy_j": "energy_kwh"}).get(name, name)
            self.add_error(field if field in self.fields else None, str(text))


def lines(text: str) -> list[str]:
    """What stands on each line."""
    return [line.strip() for line in text.splitlines() if line.strip()]
