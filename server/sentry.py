"""Error reports to Sentry: scrubbed, one scope per call, no request bodies, no server name, and no automatic
instrumentation: the interceptor decides what is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Breadcrumb, BreadcrumbHint, Event, Hint, SamplingContext

from server.caller import current_caller, current_request
from server.pii.messages import scrubbed

_MAX_DEPTH = 12
_MAX_ITEMS = 64
_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|authorization|api_?key|private|cookie|mapping|placeholder|dsn|"
    r"signature",
    re.IGNORECASE,
)
# Names of code and ids of the report itself: nothing personal, and scrubbing them would break grouping.
_KEPT = frozenset(
    """
    filename abs_path module function lineno context_line pre_context post_context type event_id timestamp
    start_timestamp release environment platform sdk level trace_id span_id parent_span_id op transaction
    transaction_info fingerprint mechanism in_app category runtime rpc.method reason request_id
    """.split()  # noqa: SIM905 - a list of words reads better as words
)
_DROPPED = ("server_name", "request", "user", "modules")


def _clean(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return scrubbed(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _clean_member(str(key), member, depth) for key, member in list(value.items())[:_MAX_ITEMS]}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return scrubbed(str(value))


def _clean_member(key: str, value: Any, depth: int) -> Any:
    if key in _KEPT:
        return value
    if _SECRET_NAME.search(key):
        return "[SECRET]"
    return _clean(value, depth + 1)


def before_send(event: Event, _hint: Hint) -> Event | None:
    """Scrub an event: messages, exception texts, local variables, breadcrumbs, tags and extra; drop what names the
    machine, the request and the user."""
    kept = {key: value for key, value in event.items() if key not in _DROPPED}
    cleaned: Event = _clean(kept)
    return cleaned


def before_breadcrumb(crumb: Breadcrumb, _hint: BreadcrumbHint) -> Breadcrumb | None:
    """Scrub one breadcrumb; those of HTTP clients lose their data, which holds URLs."""
    kept = {key: value for key, value in crumb.items() if not (key == "data" and crumb.get("type") == "http")}
    cleaned: Breadcrumb = _clean(kept)
    return cleaned


def start(dsn: str, environment: str, release: str, *, traces_sample_rate: float = 0.0) -> None:
    """Begin reporting to `dsn`. `traces_sample_rate` (0 to 1) is the share of calls traced; what a caller's headers ask
    for does not raise it. Raises sentry_sdk.utils.BadDsn for a malformed DSN."""

    def sampler(_context: SamplingContext) -> float:
        return traces_sample_rate

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        # send_default_pii is off because it is not set: naming it is deprecated in favour of data_collection.
        max_request_body_size="never",
        include_source_context=False,
        server_name="",
        traces_sampler=sampler,
        before_send=before_send,
        before_send_transaction=before_send,
        before_breadcrumb=before_breadcrumb,
        default_integrations=False,
        auto_enabling_integrations=False,
        # Logged errors are breadcrumbs only: an error is reported once, by `capture`.
        integrations=[LoggingIntegration(event_level=None), DedupeIntegration(), AtexitIntegration(callback=_silent)],
    )


def _silent(_pending: int, _timeout: float) -> None:
    """The SDK would print to standard error at exit."""


def stop(timeout: float) -> None:
    """Send what is pending, for at most `timeout` seconds, and stop reporting. Blocks: call it off the event loop."""
    sentry_sdk.get_client().close(timeout=timeout)
    sentry_sdk.get_global_scope().set_client(None)


@contextmanager
def call_scope(method: str, metadata: Sequence[tuple[str, str | bytes]]) -> Iterator[None]:
    """One call: its own scope, and a transaction that continues the caller's Sentry trace.

    Enter and leave it in one task (a coroutine that wraps the whole call): it rests on context variables, which an
    async generator closed by another task would restore in the wrong context.
    """
    if not sentry_sdk.is_initialized():
        yield
        return
    with sentry_sdk.isolation_scope() as scope:
        scope.clear_breadcrumbs()  # those of the process so far belong to other calls
        scope.set_transaction_name(method)
        scope.set_tag("rpc.method", method)
        request = current_request.get()
        if request is not None:
            scope.set_tag("request_id", request.request_id)
            scope.set_tag("trace", request.trace_id)
        headers = {
            key: value for key, value in metadata if key in {"sentry-trace", "baggage"} and isinstance(value, str)
        }
        transaction = sentry_sdk.continue_trace(headers, op="grpc.server", name=method, source="route")
        with sentry_sdk.start_transaction(transaction):
            yield


def capture(error: BaseException, *, reason: str) -> None:
    """Report `error` under the machine-readable `reason` of its answer; reports are grouped by reason and place."""
    if not sentry_sdk.is_initialized():
        return
    with sentry_sdk.new_scope() as scope:
        scope.set_tag("reason", reason)
        tenant = current_caller.get().tenant
        if tenant:
            scope.set_tag("tenant", tenant)
        scope.fingerprint = ["{{ default }}", reason]
        sentry_sdk.capture_exception(error)
