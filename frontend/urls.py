"""The pages' addresses."""

from django.contrib.auth.views import LoginView, LogoutView
from django.templatetags.static import static
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView

from frontend.forms import LoginForm
from frontend.views import (
    artifacts,
    compare,
    exports,
    home,
    imports,
    lookup,
    power,
    reference,
    runs,
    studies,
    study_pages,
    submit,
    transfer,
    uploads,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home.home, name="home"),
    path("favicon.ico", RedirectView.as_view(url=static("frontend/icon.svg")), name="favicon"),
    path("login/", LoginView.as_view(template_name="accounts/login.html", form_class=LoginForm), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("studies/", studies.listing, name="studies"),
    path("studies/<slug:slug>/", studies.detail, name="study"),
    path("studies/<slug:slug>/points.json", studies.points_json, name="study_points_json"),
    path("studies/<slug:slug>/points.csv", studies.points_csv, name="study_points_csv"),
    path("studies/<slug:slug>/claims/", reference.claims, name="study_claims"),
    path("studies/<slug:slug>/transfer/", transfer.page, name="study_transfer"),
    path("studies/<slug:slug>/settings/", study_pages.settings, name="study_settings"),
    path("studies/<slug:slug>/advice/", study_pages.advice, name="study_advice"),
    path("runs/", runs.listing, name="runs"),
    path("studies/<slug:slug>/tables/<slug:name>.<str:form>", exports.table, name="study_table"),
    path("studies/<slug:slug>/cite.bib", exports.citation, name="study_citation"),
    path("runs/<uuid:key>/model-card.json", exports.model_card, name="run_model_card"),
    path("runs/export.<str:form>", exports.all_runs, name="runs_export"),
    path("runs/compare/", compare.compare, name="runs_compare"),
    path("runs/new/", submit.new, name="run_new"),
    path("runs/plan/", submit.plan, name="run_plan"),
    path("runs/submit/", submit.submit, name="run_submit"),
    path("runs/<uuid:key>/", runs.detail, name="run"),
    path("runs/<uuid:key>/power/", power.chart, name="run_power"),
    path("records/<uuid:key>/review/", runs.review, name="review"),
    path("runs/<uuid:key>/cancel/", runs.cancel, name="run_cancel"),
    path("artifacts/", artifacts.listing, name="artifacts"),
    path("artifacts/register/", artifacts.register, name="artifact_register"),
    path("artifacts/<uuid:key>/", artifacts.detail, name="artifact"),
    path("artifacts/<uuid:key>/croissant.json", artifacts.croissant, name="artifact_croissant"),
    path("artifacts/<uuid:key>/README.md", artifacts.card, name="artifact_card"),
    path("artifacts/<uuid:key>/sharing/", artifacts.share, name="artifact_share"),
    path("artifacts/<uuid:key>/licence/", artifacts.narrow, name="artifact_narrow"),
    path("artifacts/<uuid:key>/withdraw/", artifacts.withdraw, name="artifact_withdraw"),
    path("artifacts/<uuid:key>/supersede/", artifacts.supersede, name="artifact_supersede"),
    path("lookup/", lookup.lookup, name="lookup"),
    path("import/", imports.import_file, name="import"),
    path("upload/", uploads.upload, name="upload"),
]
