"""Network addresses and credentials."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Match, Pattern, Rule, WidePattern

_IP_RANK = 55
_SECRET_RANK = 90

_IPV4 = Pattern(r"\b(?:\d{1,3}\s?(?:\[\.\]|\(\.\)|\.)\s?){3}\d{1,3}\b")
_IPV6 = Pattern(r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.\d{1,3}){3})?")
_VERSION_BEFORE = re.compile(
    r"(?:\bv|\bver\.?|\bversion|\brelease|\bbuild|\bfirmware|\brev\.?|\bsection|\bclause|\bchapter|\bsdk|\bapi|"
    r"版本|versi)\s?(?:is|number|no\.?|:|=)?\s?\Z",
    re.IGNORECASE,
)
_FOUR = 4
_OCTET = 255
_SHORTEST_V6 = 4

_TOKENS = Pattern(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY"
    r"(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.\-]*?-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
    r"|-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.]*"
    r"|\beyJ[A-Za-z0-9_\-]{6,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?"
    r"|\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|svcacct|or)?[-_]?[A-Za-z0-9_\-]{16,200}"
    r"|\bgh[opsur]_[A-Za-z0-9]{30,255}|\bgithub_pat_[A-Za-z0-9_]{20,255}|\bglpat-[A-Za-z0-9_\-]{18,64}"
    r"|\bxox[abeoprs]-[A-Za-z0-9\-]{10,250}|\b(?:AKIA|ASIA|AGPA|AROA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_\-]{35}"
    r"|\bSG\.[A-Za-z0-9_\-]{16,64}\.[A-Za-z0-9_\-]{16,64}|\bwhsec_[A-Za-z0-9+/=]{16,100}|\bhf_[A-Za-z0-9]{20,64}"
    r"|\bnpm_[A-Za-z0-9]{30,64}|\bpypi-[A-Za-z0-9_\-]{30,300}|\bdop_v1_[a-f0-9]{40,80}|\bya29\.[A-Za-z0-9_\-]{20,300}"
    r"|\bhttps://hooks\.slack\.com/services/[A-Za-z0-9/]{10,100}|\bkey-[a-f0-9]{32}\b|"
    r"\b\d{8,10}:AA[A-Za-z0-9_\-]{30,40}"
)
_BEARER = Pattern(r"\b(?i:bearer|basic)\s{1,2}([A-Za-z0-9._~+/\-]{16,}={0,2})")
_URL_LOGIN = Pattern(r"[A-Za-z][A-Za-z0-9+.\-]{1,15}://[^\s:/@]{0,64}:([^\s@/]{1,128})@")
_NAMED = Pattern(
    r"(?i:\b(?:[a-z0-9]{1,20}[_\-]){0,3}(?:password|passwd|passcode|passphrase|pwd|api[ _\-]?key|apikey|"
    r"secret(?:[ _\-]?key)?|access[ _\-]?key(?:[ _\-]id)?|"
    r"client[ _\-]?secret|auth[ _\-]?token|access[ _\-]?token|refresh[ _\-]?token|private[ _\-]?key|token|"
    r"kata laluan|katalaluan))\b"
    r"[\"']?(\s{0,2}(?i:is now|is|was|saya(?: ialah| adalah)?|ialah|adalah|to|set to)?\s{0,2}(?::|=>|=|"
    r"->)?\s{0,2})[\"'`]?([^\s\x01\"'`,;<>()\[\]{}]{4,128})"
)
_NAMED_WIDE = WidePattern(r"(?:密码|口令|密钥|验证码)(?:[\s:=是为]){1,3}([!-~]{4,128})")
_SHORT_CODE = Pattern(
    r"\b(?i:cvv2?|cvc2?|otp|one[ \-]time (?:password|code)|pin)\b(?i:(?:\s{0,2}(?:no|number|"
    r"code|is|:|=|\.|-|#)){1,3}\s{0,2}|\s)(\d{3,8})\b"
)
_PIN = re.compile(r"pin\b\s\d", re.IGNORECASE)


def _ipv4(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        written = text[match.start : match.end]
        parts = re.findall(r"\d+", written)
        if any(int(p) > _OCTET or (len(p) > 1 and p[0] == "0") for p in parts):
            return None
        if " " in written and "[" not in written:
            return None
        before = text[max(0, match.start - 2) : match.start]
        if re.search(r"[A-Za-z0-9]\Z|\d[.\-]\Z|[vV-]\Z", before) or re.match(
            r"[.\-]\d|-[A-Za-z]", text[match.end : match.end + 2]
        ):
            return None
        if _VERSION_BEFORE.search(text[max(0, match.start - 16) : match.start]):
            return None
        return Candidate(match.start, match.end, Kind.IP_ADDRESS, _IP_RANK)

    yield from _IPV4.retrying(folded.data, accept)


def _ipv6(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _IPV6.matches(folded.data):
        start, end = match.start, match.end
        written = text[start:end]
        if len(written) < _SHORTEST_V6 and written != "::1":
            continue
        if re.search(r"[A-Za-z0-9_:]\Z", text[max(0, start - 1) : start]) or re.match(
            r"[A-Za-z0-9_:]", text[end : end + 1]
        ):
            continue
        # A trailing colon is the sentence's: "2001:db8::1: unreachable".
        if written.endswith(":") and not written.endswith("::"):
            written, end = written[:-1], end - 1
        try:
            ipaddress.IPv6Address(written)
        except ValueError:
            continue
        yield Candidate(start, end, Kind.IP_ADDRESS, _IP_RANK)


def _tokens(folded: Folded) -> Iterator[Candidate]:
    for match in _TOKENS.matches(folded.data):
        yield Candidate(match.start, match.end, Kind.SECRET, _SECRET_RANK)


def _carried(folded: Folded) -> Iterator[Candidate]:
    for pattern in (_BEARER, _URL_LOGIN):
        for match in pattern.matches(folded.data):
            start, end = match.groups[0]
            end = next((i for i in range(start, end) if not folded.text[i].isascii()), end)
            if end > start:
                yield Candidate(start, end, Kind.SECRET, _SECRET_RANK - 1)


def _is_secret_value(link: str, value: str) -> bool:
    """Tell `password: hunter2` from "password is required": a value has a digit or a sign in it, or was assigned."""
    if any(c.isdigit() for c in value) or re.search(r"[!@#$%^&*_+~|\\]", value):
        return True
    assigned = re.search(r"[:=>]", link) is not None
    return assigned and len(value) > _FOUR and not value.isupper()


def _named(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        (link_start, link_end), (start, end) = match.groups
        # A secret ends where Chinese text goes on.
        end = next((i for i in range(start, end) if not text[i].isascii()), end)
        while end > start and text[end - 1] in ".,!?:":
            end -= 1
        link = text[link_start:link_end]
        if not link or end - start < _FOUR or not _is_secret_value(link, text[start:end]):
            return None
        return Candidate(start, end, Kind.SECRET, _SECRET_RANK - 2)

    yield from _NAMED.retrying(folded.data, accept)


def _named_chinese(folded: Folded) -> Iterator[Candidate]:
    for match in _NAMED_WIDE.matches(folded.text):
        start, end = match.groups[0]
        if "[" not in folded.text[start:end]:
            yield Candidate(start, end, Kind.SECRET, _SECRET_RANK - 2)


def _short_codes(folded: Folded) -> Iterator[Candidate]:
    for match in _SHORT_CODE.matches(folded.data):
        # "pin 500 pieces" is goods; "pin: 500" is not.
        if not _PIN.match(folded.text[match.start : match.groups[0][1]]):
            yield Candidate(*match.groups[0], Kind.SECRET, _SECRET_RANK - 3)


RULES = (
    Rule(
        "ipv4",
        r"\d{1,3}\s?(?:\[\.\]|\(\.\)|\.)\s?\d{1,3}\s?(?:\[\.\]|\(\.\)|\.)\s?\d{1,3}\s?(?:\[\.\]|\(\.\)|"
        r"\.)\s?\d",
        _ipv4,
    ),
    Rule("ipv6", r":[0-9A-Fa-f]{0,4}:", _ipv6),
    Rule(
        "token",
        r"PRIVATE KEY|\beyJ|\b[sprSP]k[-_]|\bgh[opsur]_|github_pat_|glpat-|xox[abeoprs]-|\bA(?:KIA|SIA|GPA|ROA)|"
        r"AIza|\bSG\.|whsec_"
        r"|\bhf_|npm_|pypi-|dop_v1_|ya29\.|hooks\.slack|\bkey-|:AA",
        _tokens,
    ),
    Rule("carried credential", r"(?i:bearer|basic)\s|://[^\s/@]{1,200}@", _carried),
    Rule("named secret", r"(?i:passw|passcode|passphrase|pwd|key|secret|token|laluan)", _named),
    Rule("secret named in Chinese", "密码|口令|密钥|验证码", _named_chinese),
    Rule("short code", r"\b(?i:cvv2?|cvc2?|otp|one[ \-]time|pin)\b", _short_codes),
)
