"""Which OCSF class and activity each action is. A test holds that none is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, replace

from server.audit.actions import Action

CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
_LOGON = 1
_FINDING_CREATE = 1


@dataclass(frozen=True, slots=True)
class OcsfClass:
    """A class of OCSF 1.6 and an activity within it."""

    name: str
    class_uid: int
    activity_id: int

    @property
    def category_uid(self) -> int:
        """The thousands of a class are its category."""
        return self.class_uid // 1000


_API = OcsfClass("api_activity", 6003, OTHER)
_ENTITY = OcsfClass("entity_management", 3004, UPDATE)
_FINDING = OcsfClass("detection_finding", 2004, _FINDING_CREATE)
_SPECIAL = {
    Action.AUTHENTICATION_FAIL: OcsfClass("authentication", 3002, _LOGON),
    Action.CONFIG_CHANGE: _ENTITY,
    Action.CONSENT_CHANGE: _ENTITY,
    Action.SUBJECT_ERASE: replace(_ENTITY, activity_id=DELETE),
    Action.INJECTION_SUSPECT: _FINDING,
    Action.WEBHOOK_FORGED: _FINDING,
}
_ACTIVITIES = {
    CREATE: {
        Action.CONVERSATION_CREATE, Action.MESSAGE_SEND, Action.STREAM_TICKET_CREATE, Action.FEEDBACK_SUBMIT,
        Action.AI_DECISION, Action.HUMAN_REQUEST, Action.STAFF_MESSAGE_SEND, Action.ORDER_CREATE, Action.INVOICE_POST,
        Action.WEBHOOK_RECEIVE, Action.AUDIT_RECORD, Action.DOCUMENT_IMPORT, Action.CATALOGUE_IMPORT,
    },
    READ: {
        Action.DATA_READ, Action.DATA_LIST, Action.DATA_WATCH, Action.DATA_EXPORT, Action.RUN_RESUME,
        Action.ORDER_QUOTE, Action.ACCOUNTING_READ, Action.AUDIT_READ, Action.AUDIT_EXPORT, Action.AUDIT_PROVE,
        Action.SUBJECT_EXPORT, Action.OPS_READ, Action.HEALTH_CHECK,
    },
    UPDATE: {
        Action.RUN_CANCEL, Action.CONTROL_TAKE, Action.CONTROL_RETURN, Action.PROPOSAL_CONFIRM,
        Action.PROPOSAL_REJECT, Action.ORDER_UPDATE, Action.ORDER_CONFIRM, Action.ORDER_ACCEPT, Action.ORDER_REJECT,
        Action.ORDER_FULFIL, Action.ORDER_COMPLETE, Action.ORDER_CANCEL, Action.INVOICE_RETRY, Action.INVOICE_VOID,
        Action.CACHE_WARM,
    },
    DELETE: {Action.DATA_DELETE, Action.DOCUMENT_DELETE},
    OTHER: {Action.ACCESS_DENY, Action.RATE_LIMIT, Action.METHOD_UNKNOWN, Action.ADMIN_COMMAND},
}  # fmt: skip
CLASSES = _SPECIAL | {
    action: replace(_API, activity_id=activity) for activity, actions in _ACTIVITIES.items() for action in actions
}


def class_of(action: Action) -> OcsfClass:
    """An action that is new and not mapped yet is API activity of another kind."""
    return CLASSES.get(action, _API)
