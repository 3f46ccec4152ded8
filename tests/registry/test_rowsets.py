"""Row sets: the same rows are kept once, and old lists become sets."""

from registry.models import RowSet
from registry.services import rowsets
from tests import scenes


def test_the_same_rows_in_any_order_are_one_set(db):
    first, second = rowsets.of(["b", "a", "b"]), rowsets.of(["a", "b"])
    assert first == second
    assert (first.count, first.digests, RowSet.objects.count()) == (2, ["a", "b"], 1)


def test_other_rows_are_another_set_and_no_rows_are_none(db):
    assert rowsets.of(["a"]) != rowsets.of(["a", "b"])
    assert rowsets.of([]) is None


def test_artifacts_over_the_same_rows_share_their_set(study):
    run = scenes.add_run(study)
    one, two = scenes.add_artifact(run), scenes.add_artifact(run)
    assert one.rows_id == two.rows_id is not None
    assert one.row_digests == ["a", "b", "c"]


def test_a_digest_has_one_spelling(db):
    made = rowsets.of(["é", "b"])
    assert rowsets.of(["e\u0301", "b"]) == made
    assert made.digests == ["b", "é"]
