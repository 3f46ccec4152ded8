"""Forms of the webhook pages."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from registry.models import Project, Webhook
from registry.selectors.messages import NAMES
from registry.services.errors import Invalid
from registry.services.webhooks import LONGEST_URL


class WebhookChangeForm(forms.Form):
    """Where an event goes, and which."""

    url = forms.CharField(
        label=_("Address"),
        max_length=LONGEST_URL,
        strip=False,
        help_text=_("https, at port 443 or 8443, of a host on the public internet."),
        widget=forms.TextInput(attrs={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"}),
    )
    note = forms.CharField(label=_("What it is for"), max_length=200, required=False)
    events = forms.MultipleChoiceField(
        label=_("Events"), choices=[(name, name) for name in NAMES], widget=forms.CheckboxSelectMultiple
    )

    def refuse(self, error: Invalid) -> None:
        """Put each refusal beside the field it names."""
        for name, text in error.problems.items():
            self.add_error(name if name in self.fields else None, str(text))


class WebhookForm(WebhookChangeForm):
    """A new webhook."""

    project = forms.ModelChoiceField(
        label=_("Project"), queryset=Project.objects.none(), to_field_name="slug", empty_label=None
    )
    format = forms.ChoiceField(
        label=_("Format of its messages"), choices=Webhook.Format.choices, initial=Webhook.Format.STAGEMETER
    )
    field_order = ("project", "url", "note", "format", "events")

    def __init__(self, *args: Any, projects: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["project"].queryset = projects  # type: ignore[attr-defined]  # a model choice
