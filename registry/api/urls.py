"""The REST layer's addresses."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from registry.api.endpoint import Nothing
from registry.api.mlflow import MlflowView
from registry.api.views import (
    analysis,
    artifacts,
    comparison,
    imports,
    incoming,
    leases,
    openlineage,
    outlook,
    runs,
    schemas,
    scores,
    stages,
    studies,
    sweeps,
    traces,
    versions,
    webhooks,
)

app_name = "api"

v1: list[URLPattern | URLResolver] = [
    path("studies/", studies.StudiesView.as_view(), name="studies"),
    path("studies/<slug:slug>/", studies.StudyView.as_view(), name="study"),
    path("studies/<slug:slug>/frontier/", studies.FrontierView.as_view(), name="frontier"),
    path("studies/<slug:slug>/outlook/", outlook.OutlookView.as_view(), name="outlook"),
    path("studies/<slug:slug>/break-evens/", outlook.BreakEvensView.as_view(), name="break-evens"),
    path("studies/<slug:slug>/breakdown/", outlook.BreakdownView.as_view(), name="breakdown"),
    path("studies/<slug:slug>/sensitivity/", outlook.SensitivityView.as_view(), name="sensitivity"),
    path("studies/<slug:slug>/workloads/", outlook.WorkloadsView.as_view(), name="workloads"),
    path("studies/<slug:slug>/advice/", outlook.AdviceView.as_view(), name="advice"),
    path("studies/<slug:slug>/claims/", analysis.ClaimsView.as_view(), name="claims"),
    path("studies/<slug:slug>/transfer/", analysis.TransferView.as_view(), name="transfer"),
    path("runs/", runs.RunsView.as_view(), name="runs"),
    path("runs/compare/", comparison.ComparisonView.as_view(), name="compare-runs"),
    path("runs/plan/", runs.PlanView.as_view(), name="plan"),
    path("runs/sweep/", sweeps.SweepsView.as_view(), name="sweep"),
    path("runs/sweep/plan/", sweeps.SweepPlanView.as_view(), name="sweep-plan"),
    path("runs/upload/schema/", schemas.RunSchemaView.as_view(), name="run-schema"),
    path("runs/upload/", runs.UploadView.as_view(), name="upload"),
    path("runs/<uuid:id>/", runs.RunView.as_view(), name="run"),
    path("runs/<uuid:id>/cancel/", runs.CancelView.as_view(), name="cancel"),
    path("stage-records/", stages.StageRecordsView.as_view(), name="stage-records"),
    path("stage-records/<uuid:id>/reviews/", stages.ReviewsView.as_view(), name="reviews"),
    path("stage-records/<uuid:id>/trace/", traces.TraceView.as_view(), name="trace"),
    path("scores/", scores.ScoresView.as_view(), name="scores"),
    path("scores/<uuid:id>/file/", scores.ScoreFileView.as_view(), name="score-file"),
    path("artifacts/", artifacts.ArtifactsView.as_view(), name="artifacts"),
    path("artifacts/lookup/", artifacts.LookupView.as_view(), name="lookup"),
    path("artifacts/leases/", leases.LeasesView.as_view(), name="artifact-leases"),
    path("artifacts/leases/<uuid:id>/", leases.LeaseView.as_view(), name="artifact-lease"),
    path("artifacts/uploads/<uuid:upload>/<str:name>", incoming.UploadedFileView.as_view(), name="artifact-upload"),
    path("artifacts/<uuid:id>/files/", incoming.ArtifactFilesView.as_view(), name="artifact-files"),
    path("artifacts/<uuid:id>/", artifacts.ArtifactView.as_view(), name="artifact"),
    path("artifacts/<uuid:id>/sharing/", artifacts.SharingView.as_view(), name="artifact-sharing"),
    path("artifacts/<uuid:id>/licence/", artifacts.LicenceView.as_view(), name="artifact-licence"),
    path("artifacts/<uuid:id>/withdraw/", versions.WithdrawView.as_view(), name="withdraw"),
    path("artifacts/<uuid:id>/supersede/", versions.SupersedeView.as_view(), name="supersede"),
    path("artifacts/<uuid:id>/aliases/", versions.AliasesView.as_view(), name="aliases"),
    path("artifacts/<uuid:id>/aliases/<str:alias>/", versions.AliasView.as_view(), name="alias"),
    path(
        "artifacts/<slug:project>/<slug:handle>@<slug:reference>/",
        versions.NamedArtifactView.as_view(),
        name="artifact-by-name",
    ),
    path("artifacts/<uuid:id>/files/<str:name>", artifacts.ArtifactFileView.as_view(), name="artifact-file"),
    path("imports/", imports.ImportsView.as_view(), name="imports"),
    path("webhooks/", webhooks.WebhooksView.as_view(), name="webhooks"),
    path("webhooks/<uuid:id>/", webhooks.WebhookView.as_view(), name="webhook"),
    path("webhooks/<uuid:id>/secret/", webhooks.WebhookSecretView.as_view(), name="webhook-secret"),
    path("webhooks/<uuid:id>/ping/", webhooks.WebhookPingView.as_view(), name="webhook-ping"),
    path("webhook-deliveries/", webhooks.DeliveriesView.as_view(), name="webhook-deliveries"),
    path("webhook-deliveries/<uuid:id>/redeliver/", webhooks.RedeliverView.as_view(), name="redeliver"),
    path("openlineage/facets/", openlineage.FacetSchemaView.as_view(), name="openlineage-facets"),
    path("runs/<uuid:id>/openlineage/", openlineage.RunEventsView.as_view(), name="run-openlineage"),
    path("studies/<slug:slug>/openlineage/", openlineage.StudyEventsView.as_view(), name="study-openlineage"),
    path("factors/", studies.FactorsView.as_view(), name="factors"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(v1)),
    path("2.0/mlflow/<path:call>", MlflowView.as_view(), name="mlflow"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    # Its script is an address of its own, because nothing inline may run.
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api:schema"), name="docs"),
    re_path(r"", Nothing.as_view()),
]
