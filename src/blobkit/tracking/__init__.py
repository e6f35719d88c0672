"""Upload records that stay true: what was begun, what arrived, what may be served. The names here are the public ones.

Needs the ``tracking`` extra.
"""

from __future__ import annotations

from blobkit.tracking.aio import AsyncChecking, AsyncOutbox, AsyncTracker
from blobkit.tracking.applying import Applied
from blobkit.tracking.beginning import Hook, NewUpload, Quota, Usage
from blobkit.tracking.checking import Checking, Claim, RecordedVerdict
from blobkit.tracking.outbox import Delivered, Handler, Outbox
from blobkit.tracking.records import Notification, Served, Upload
from blobkit.tracking.report import ReconcileReport
from blobkit.tracking.states import MOVES, Signal, State, Step
from blobkit.tracking.timing import Timing
from blobkit.tracking.tracker import Delivery, Tracker
from blobkit.tracking.worker import EventSource, Part, Worker

__all__ = [
    "MOVES",
    "Applied",
    "AsyncChecking",
    "AsyncOutbox",
    "AsyncTracker",
    "Checking",
    "Claim",
    "Delivered",
    "Delivery",
    "EventSource",
    "Handler",
    "Hook",
    "NewUpload",
    "Notification",
    "Outbox",
    "Part",
    "Quota",
    "ReconcileReport",
    "RecordedVerdict",
    "Served",
    "Signal",
    "State",
    "Step",
    "Timing",
    "Tracker",
    "Upload",
    "Usage",
    "Worker",
]
