"""What leaves the house: runs as a table in three formats, streamed."""

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_safe

from frontend.filters import RunFilter
from registry.models import Study
from registry.selectors import runs, tables
from registry.tables import FORMATS, Columns, Rows


def answer(form: str, name: str, columns: Columns, rows: Rows) -> StreamingHttpResponse:
    """The table as a file called `name`, in the format `form`."""
    media, encode = FORMATS[form]
    response = StreamingHttpResponse(encode(columns, rows), content_type=media)
    response["Content-Disposition"] = f'attachment; filename="{name}.{form}"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


@require_safe
def all_runs(request: HttpRequest, form: str) -> HttpResponseBase:
    """The runs that the list's own filters leave, all of them: CSV, JSON or Parquet."""
    if form not in FORMATS:
        raise Http404
    seen, rows = Study.objects.visible_to(request.user), runs.visible(request.user)
    shown = RunFilter(request.GET, queryset=rows, studies=seen, whole=True)
    if shown.form.errors:
        return HttpResponse(shown.form.errors.as_json(), status=400, content_type="application/json")
    return answer(form, "runs", tables.RUN_COLUMNS, tables.run_rows(shown.qs))
