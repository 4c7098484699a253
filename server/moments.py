"""Points in time as requests carry them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from server.errors import invalid


def moment(stamp: Timestamp, field: str) -> datetime:
    """Raises INVALID_ARGUMENT for what the wire can hold and no calendar has, such as years beyond 9999."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(field, "must be a time between the years 1 and 9999") from error
