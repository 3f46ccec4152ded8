"""Dropping a file onto the page."""

import pytest
from django.urls import reverse

from registry.models import Stage
from tests.importers import files

pytestmark = pytest.mark.django_db(transaction=True)
DROP = """content => {
  const data = new DataTransfer();
  data.items.add(new File([content], "emissions.csv"));
  const form = document.querySelector("[data-drop]");
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const kind of ["dragover", "drop"]) form.dispatchEvent(new DragEvent(kind, how));
}"""


def test_a_dropped_file_is_looked_at_and_booked_on_a_phone(open_page, member, study):
    page = open_page(width=390, user=member, dark=True)
    page.goto(reverse("import"))
    page.evaluate(DROP, files.emissions({"gpu_energy": "0", "energy_consumed": "0.06"}).decode())
    page.get_by_role("button", name="Look at it").click()
    page.get_by_label("Pipeline").fill("kd")
    page.get_by_label("Student").fill("small")
    page.locator("select[name=stage-0]").select_option("student_training")
    page.get_by_role("button", name="Book").click()
    page.get_by_text("Booked.").wait_for()
    assert Stage.objects.get().energy_j is None  # its GPU read 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.complaints == []
