"""The rules of `qengine.backends.protocol` as a pytest suite. The whole test file of a backend:

    import pytest
    from qengine.testing import BackendFactory
    from qengine.testing.conformance import *

    @pytest.fixture
    async def backend_factory(tmp_path):
        async with BackendFactory(f"mydb://{tmp_path}/queue.db") as factory:
            yield factory

The fixture `backend_factory` gives, for each test, a `BackendFactory` on an empty database. Subclass it to tell the suite
about the database what only you know (the application's own connection, counting statements): see its methods.
Every topic is a class; a backend that has to depart from a rule subclasses that class and overrides the check, in the open.
"""

from __future__ import annotations

from qengine.testing.conformance.admin import TestCancel, TestDelete, TestFilter, TestPause, TestRequeue
from qengine.testing.conformance.amend import TestAmend, TestRequeueAtARate
from qengine.testing.conformance.claim import TestClaim, TestClaimsAtTheSameTime, TestPausedClaims, TestSuspects
from qengine.testing.conformance.cost import TestCost
from qengine.testing.conformance.enqueue import TestEnqueue, TestEnqueueOnTheCallersConnection
from qengine.testing.conformance.inspection import (
    TestDeadByDay,
    TestDiagnose,
    TestEndedSince,
    TestErrorsSince,
    TestOldestDue,
    TestRunning,
)
from qengine.testing.conformance.lease import TestDisown, TestExtend, TestSave, TestTransaction
from qengine.testing.conformance.migrate import TestLifecycle, TestMigrate
from qengine.testing.conformance.order import TestOrder
from qengine.testing.conformance.plans import TestPlans
from qengine.testing.conformance.reclaim import TestReclaim
from qengine.testing.conformance.records import TestActivity, TestAudit
from qengine.testing.conformance.rows import TestFailures, TestGetAndQuery, TestStats, TestTexts, TestUnhandled
from qengine.testing.conformance.schedule import TestFire, TestPauseSchedule, TestPutSchedules
from qengine.testing.conformance.search import TestSearch, TestText
from qengine.testing.conformance.settle import TestSettle, TestSettleUnderTheFence
from qengine.testing.conformance.unique import TestUnique, TestUniqueAndRequeue
from qengine.testing.conformance.upkeep import TestBuryExpired, TestBuryUnknown, TestNextDeadline, TestPromoteDue, TestPrune
from qengine.testing.conformance.wake import TestWake
from qengine.testing.conformance.workers import TestWorkers

__all__ = [
    "TestActivity",
    "TestAmend",
    "TestAudit",
    "TestBuryExpired",
    "TestBuryUnknown",
    "TestCancel",
    "TestClaim",
    "TestClaimsAtTheSameTime",
    "TestCost",
    "TestDeadByDay",
    "TestDelete",
    "TestDiagnose",
    "TestDisown",
    "TestEndedSince",
    "TestEnqueue",
    "TestEnqueueOnTheCallersConnection",
    "TestErrorsSince",
    "TestExtend",
    "TestFailures",
    "TestFilter",
    "TestFire",
    "TestGetAndQuery",
    "TestLifecycle",
    "TestMigrate",
    "TestNextDeadline",
    "TestOldestDue",
    "TestOrder",
    "TestPause",
    "TestPauseSchedule",
    "TestPausedClaims",
    "TestPlans",
    "TestPromoteDue",
    "TestPrune",
    "TestPutSchedules",
    "TestReclaim",
    "TestRequeue",
    "TestRequeueAtARate",
    "TestRunning",
    "TestSave",
    "TestSearch",
    "TestSettle",
    "TestSettleUnderTheFence",
    "TestStats",
    "TestSuspects",
    "TestText",
    "TestTexts",
    "TestTransaction",
    "TestUnhandled",
    "TestUnique",
    "TestUniqueAndRequeue",
    "TestWake",
    "TestWorkers",
]
