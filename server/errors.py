"""Errors that know their own status and reason.

A service raises an `AppError`; `interceptors/errors.py` is the one place that puts it on the wire as
google.rpc.Status with ErrorInfo(reason, domain "tria") and, where given, BadRequest, RetryInfo or QuotaFailure.
`Reason` mirrors `tria.errors.v1.ErrorReason` value for value (tests/contract/test_reasons.py compares them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum


class Code(Enum):
    """The canonical gRPC status codes that a TRIA service may answer with (values as in google.rpc.Code)."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class Reason(StrEnum):
    """Machine-readable reasons; the proto enum documents each with an example ErrorInfo."""

    INTERNAL = "INTERNAL"
    INVALID_FIELD = "INVALID_FIELD"
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    CREDENTIALS_MISSING = "CREDENTIALS_MISSING"
    CREDENTIALS_AMBIGUOUS = "CREDENTIALS_AMBIGUOUS"
    TOKEN_INVALID = "TOKEN_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    API_KEY_INVALID = "API_KEY_INVALID"
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    PERMISSION_MISSING = "PERMISSION_MISSING"
    RATE_LIMITED = "RATE_LIMITED"
    SERVER_BUSY = "SERVER_BUSY"
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS"
    METADATA_TOO_LARGE = "METADATA_TOO_LARGE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    PAGE_TOKEN_INVALID = "PAGE_TOKEN_INVALID"
    OUTLET_MISMATCH = "OUTLET_MISMATCH"
    OUTLET_UNKNOWN = "OUTLET_UNKNOWN"
    CONVERSATION_BUSY = "CONVERSATION_BUSY"
    CONVERSATION_CLOSED = "CONVERSATION_CLOSED"
    RUN_NOT_RESUMABLE = "RUN_NOT_RESUMABLE"
    RUN_OWNER_LOST = "RUN_OWNER_LOST"
    TICKET_INVALID = "TICKET_INVALID"
    CONTROLLER_CHANGED = "CONTROLLER_CHANGED"
    PROPOSAL_CHANGED = "PROPOSAL_CHANGED"
    PROPOSAL_EXPIRED = "PROPOSAL_EXPIRED"
    PROPOSAL_CLOSED = "PROPOSAL_CLOSED"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_RATE_LIMITED = "MODEL_RATE_LIMITED"
    MODEL_TIMEOUT = "MODEL_TIMEOUT"
    MODEL_STREAM_CUT = "MODEL_STREAM_CUT"
    MODEL_OUTPUT_INVALID = "MODEL_OUTPUT_INVALID"
    MODEL_REFUSED = "MODEL_REFUSED"
    MODEL_CONTEXT_EXCEEDED = "MODEL_CONTEXT_EXCEEDED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STORE_BUSY = "STORE_BUSY"
    KNOWLEDGE_UNAVAILABLE = "KNOWLEDGE_UNAVAILABLE"
    DOCUMENT_UNREADABLE = "DOCUMENT_UNREADABLE"
    DOCUMENT_TOO_LARGE = "DOCUMENT_TOO_LARGE"
    PRODUCT_UNKNOWN = "PRODUCT_UNKNOWN"
    PRODUCT_ROW_INVALID = "PRODUCT_ROW_INVALID"
    ORDER_TRANSITION_ILLEGAL = "ORDER_TRANSITION_ILLEGAL"
    ORDER_PAID = "ORDER_PAID"
    ORDER_EMPTY = "ORDER_EMPTY"
    ORDER_BELOW_MINIMUM = "ORDER_BELOW_MINIMUM"
    ORDER_AFTER_CUTOFF = "ORDER_AFTER_CUTOFF"
    ORDER_CREDIT_HOLD = "ORDER_CREDIT_HOLD"
    ORDER_OUT_OF_STOCK = "ORDER_OUT_OF_STOCK"
    ORDER_DUPLICATE_SUSPECTED = "ORDER_DUPLICATE_SUSPECTED"
    PRICE_MISSING = "PRICE_MISSING"
    ACCOUNTING_NOT_CONNECTED = "ACCOUNTING_NOT_CONNECTED"
    ACCOUNTING_BUDGET_EXHAUSTED = "ACCOUNTING_BUDGET_EXHAUSTED"
    ACCOUNTING_REJECTED = "ACCOUNTING_REJECTED"
    ACCOUNTING_UNAVAILABLE = "ACCOUNTING_UNAVAILABLE"
    ACCOUNTING_OUTCOME_UNKNOWN = "ACCOUNTING_OUTCOME_UNKNOWN"
    INVOICE_NOT_RETRYABLE = "INVOICE_NOT_RETRYABLE"
    INVOICE_NUMBER_TAKEN = "INVOICE_NUMBER_TAKEN"
    INVOICE_TOTAL_MISMATCH = "INVOICE_TOTAL_MISMATCH"
    INVOICE_VOIDED = "INVOICE_VOIDED"
    WEBHOOK_SIGNATURE_INVALID = "WEBHOOK_SIGNATURE_INVALID"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    AUDIT_RANGE_INVALID = "AUDIT_RANGE_INVALID"
    SUBJECT_ON_LEGAL_HOLD = "SUBJECT_ON_LEGAL_HOLD"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One bad field: `field` is its dotted path in the request, `rule` the rule that it broke."""

    field: str
    description: str
    rule: str = ""


class AppError(Exception):
    """A refusal that the caller should see.

    `message` is shown to the caller and must hold no personal data and nothing internal; `metadata` goes into
    ErrorInfo; `retry_after` (seconds) becomes RetryInfo; `quota` names the exhausted limit in QuotaFailure; `details`
    are further messages of Protobuf that the status carries, set by handlers. The cause, when there is one, is chained
    with `raise ... from` and stays in the log.
    """

    def __init__(
        self,
        code: Code,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        quota: str | None = None,
        details: Sequence[object] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.quota = quota
        self.details = tuple(details)


def invalid(field: str, description: str, *, rule: str = "") -> AppError:
    """INVALID_ARGUMENT for one field."""
    return AppError(
        Code.INVALID_ARGUMENT,
        Reason.INVALID_FIELD,
        f"{field}: {description}",
        violations=[FieldViolation(field, description, rule)],
    )


def not_found(resource: str) -> AppError:
    """NOT_FOUND, the same for what never was and for what belongs to another tenant or outlet."""
    return AppError(
        Code.NOT_FOUND,
        Reason.RESOURCE_NOT_FOUND,
        f"{resource} not found",
        metadata={"resource": resource},
    )
