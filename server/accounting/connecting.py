"""How a tenant becomes connected: tokens by the configured grant, and the one organisation that they are for."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from server.accounting.connection import Connections
from server.accounting.identity import GrantRefused, Identity, IdentityAway, Organisation, Tokens
from server.audit.changes import Author


class NotConnectable(Exception):
    """The message says what to do."""


async def connect_by_credentials(connections: Connections, identity: Identity, author: Author, wanted: str) -> str:
    """Connects by the app's own credentials (a custom connection); returns the organisation's name.

    `wanted` is the organisation's id where several are granted, or "". Raises NotConnectable.
    """
    try:
        tokens = await identity.by_credentials()
    except (GrantRefused, IdentityAway) as problem:
        raise NotConnectable(f"Xero gives no token: {problem}") from problem
    return await _connect(connections, identity, author, tokens, wanted)


async def connect_by_code(
    connections: Connections, identity: Identity, author: Author, wanted: str, answer: str, state: str
) -> str:
    """Connects by what consent gave: the code, or the whole URL that Xero sent the person to. Raises NotConnectable."""
    try:
        tokens = await identity.by_code(_code(answer, state))
    except (GrantRefused, IdentityAway) as problem:
        raise NotConnectable(f"Xero does not take the code: {problem}") from problem
    if not tokens.refresh:
        raise NotConnectable("Xero gave no refresh token: XERO_SCOPES must hold offline_access")
    return await _connect(connections, identity, author, tokens, wanted)


async def _connect(connections: Connections, identity: Identity, author: Author, tokens: Tokens, wanted: str) -> str:
    try:
        organisation = _chosen(await identity.organisations(tokens.access), wanted)
    except (GrantRefused, IdentityAway) as problem:
        raise NotConnectable(f"Xero does not say what the token is for: {problem}") from problem
    await connections.connect(author, tokens, organisation)
    return organisation.name


def _chosen(granted: Sequence[Organisation], wanted: str) -> Organisation:
    if wanted:
        granted = [organisation for organisation in granted if organisation.id == wanted]
    if len(granted) == 1:
        return granted[0]
    if not granted:
        raise NotConnectable(
            "the app may enter no such organisation" if wanted else "the app may enter no organisation"
        )
    names = ", ".join(f"{organisation.id} ({organisation.name})" for organisation in granted)
    raise NotConnectable(f"the app may enter several organisations: set XERO_TENANT_ID to one of {names}")


def _code(answer: str, state: str) -> str:
    """The code of a redirect URL, whose state must be ours (RFC 6749 §10.12), or the code itself."""
    answer = answer.strip()
    if "://" not in answer:
        return answer
    query = parse_qs(urlsplit(answer).query)
    if "error" in query:
        raise NotConnectable(f"consent was not given: {query['error'][0][:100]}")
    if not hmac.compare_digest(query.get("state", [""])[0].encode(), state.encode()):
        raise NotConnectable("that is the answer to another consent: begin again")
    if not query.get("code"):
        raise NotConnectable("that URL holds no code")
    return query["code"][0]
