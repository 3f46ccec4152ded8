"""Leases on the wire."""

from typing import Any

from rest_framework import serializers

from registry.accounting.reuse import CUT, MAKE, USE, WAIT
from registry.api.fields import Whole
from registry.api.serializers.artifacts import ArtifactDetailSerializer, RequestPayload
from registry.services.leases import LONGEST_S, SHORTEST_S


class LeaseRequest(RequestPayload):
    """What is wanted, and for how long its making shall be yours if nobody has it."""

    seconds = Whole(required=False, min_value=SHORTEST_S, max_value=LONGEST_S, help_text="900 if left out.")
    lease = serializers.UUIDField(required=False, help_text="A lease of yours to hold on to.")


class LeaseAnswer(serializers.Serializer[Any]):
    """What to do about the request."""

    action = serializers.ChoiceField([USE, CUT, WAIT, MAKE])
    reason = serializers.CharField()
    artifact = ArtifactDetailSerializer(allow_null=True, help_text="What to use, cut or wait for, with its files.")
    lease = serializers.UUIDField(allow_null=True, help_text="With make: the lease.")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Of the lease, yours or whom you wait for.")
