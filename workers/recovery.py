"""No measurement is lost: what the spool holds and the ledger doesn't is booked, its power trace with it."""

import logging
import uuid

from django.conf import settings

from registry.services import jobs
from registry.services.errors import ServiceError
from stagemeter import spool
from stagemeter.errors import SpoolError
from stagemeter.records import StageRecord
from workers import traces

logger = logging.getLogger(__name__)


def book_dead_attempts() -> int:
    """Book the records of attempts whose process died on this host, and end their leases at once."""
    try:
        spool.recover(settings.SPOOL_DIR)
        records = spool.pending(settings.SPOOL_DIR)
    except SpoolError:
        logger.exception("the spool could not be read; its records stay there")
        return 0
    lost = [uuid.UUID(record.attempt_id) for record in records if _book(record) and record.attempt_id]
    jobs.release(attempt_ids=lost)
    return len(lost)


def _book(record: StageRecord) -> bool:
    """Book one record unless its attempt is still being booked by a living worker."""
    if record.status != "lost" and jobs.is_running(record):
        return False
    try:
        booked = jobs.book_lost(record=record)
    except ServiceError:
        logger.exception("record %s stays in the spool: the ledger refused it", record.record_id)
        return False
    if traces.keep(record.record_id):
        spool.mark_sent(settings.SPOOL_DIR, record.record_id)
    if not booked:
        logger.error("record %s names no attempt of this registry; its files stay in the spool", record.record_id)
    return booked
