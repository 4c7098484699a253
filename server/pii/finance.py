"""Payment cards, IBANs and bank accounts.

Card ranges: ISO/IEC 7812 issuer ranges as published by the schemes, checked by Luhn. IBAN lengths: SWIFT IBAN registry,
checked by ISO 7064 MOD 97-10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import dialling, surroundings
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Context, Match, Pattern, Rule, WidePattern

_CARD_RANK = 75
_IBAN_RANK = 78
_ACCOUNT_RANK = 58
_OVER_IDENTITY = 13  # what is called an account is one, even if its digits could be a date of birth and a state
_BESIDE_RANK = 54  # below a number that is to be called
_NEAR_RANK = 52
_PAID_RANK = 46  # below anything that has the shape of a telephone number: those are paid to as well

_CARD = Pattern(r"\d(?:[\s.\-_/]{0,3}\d){12,40}")
# A number that passes the checks is a card unless it is clearly a part of something else.
_CARD_WORD = Context(
    r"(?:\b(?:cards?|visa|master(?:card)?|amex|american express|unionpay|jcb|diners|discover|maestro|kad|cc|pan)|"
    r"卡|银联)"
    r"(?:\s*(?:no|num|number|nombor|is|was|adalah)\b|[\s.:#=_/()*\-]|号码?|是|为){0,6}\z"
)
_CARD_JOINED_BEFORE = re.compile(r"(?:[A-Za-z0-9][_*~]{0,2}|[A-Za-z0-9][\-/.+]|[$#@%])\Z")
_CARD_JOINED_BEHIND = re.compile(r"[A-Za-z0-9%]|[\-.+*][A-Za-z0-9]|_{1,2}[A-Za-z0-9]")
# (low, high, allowed lengths); low and high are compared with as many leading digits as they have.
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),  # Mastercard 2-series
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),
    (6011, 6011, frozenset({16, 17, 18, 19})),  # Discover
    (644, 649, frozenset({16, 17, 18, 19})),
    (65, 65, frozenset({16, 17, 18, 19})),
    (300, 305, frozenset({14, 16, 17, 18, 19})),  # Diners
    (3095, 3095, frozenset({14, 16, 17, 18, 19})),
    (36, 36, frozenset({14, 15, 16, 17, 18, 19})),
    (38, 39, frozenset({14, 16, 17, 18, 19})),
    (3528, 3589, frozenset({16, 17, 18, 19})),  # JCB
    (62, 62, frozenset({16, 17, 18, 19})),  # UnionPay
    (81, 81, frozenset({16, 17, 18, 19})),
    (2200, 2204, frozenset({16, 17, 18, 19})),  # Mir
    (50, 50, frozenset({13, 14, 15, 16, 17, 18, 19})),  # Maestro
    (56, 58, frozenset({13, 14, 15, 16, 17, 18, 19})),
    (63, 63, frozenset({13, 14, 15, 16, 17, 18, 19})),
    (67, 67, frozenset({13, 14, 15, 16, 17, 18, 19})),
)
_LONGEST_CARD = 19
_SHORTEST_CARD = 13
_CARD_GROUP = 3  # a card is written in groups of at least three digits, or digit by digit

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
_IBAN_BEGINS = rf"\b(?i:{'|'.join(_IBAN_LENGTHS)})[\s\-]?\d{{2}}(?:[\s.\-]{{0,2}}[A-Za-z0-9])"
_IBAN = Pattern(rf"{_IBAN_BEGINS}{{11,30}}")

_BANKS = (
    "dbs|posb|ocbc|uob|maybank|cimb|public bank|rhb|hong leong(?: bank)?|ambank|bsn|bank islam|bank of china|hsbc|"
    "citibank|citi|stanchart|"
    "standard chartered|"
    "boc|icbc|bca|mandiri|bni|bri|affin(?: bank)?|alliance bank|bank rakyat|bank muamalat|agrobank|maribank|gxs|"
    "trust bank|wise|revolut"
)
_BANKS_CHINESE = "星展|华侨银行|大华|马来亚银行|联昌|大众银行|丰隆|渣打|汇丰|花旗|中国银行|工商银行|兴业银行|储蓄银行"
_ACCOUNT_LABELS = (
    rf"(?:bank\s)?(?:account|acct|a/c|acc|akaun)|akaun bank|sort code|routing number|{_BANKS}|giro|iban|bsb"
)
_ACCOUNT_FILLER = (
    r"no|nos|num|number|nombor|#|is|:|=|\.|-|,|\(|\)|bank|singapore|malaysia|savings?|current|chequing|checking|"
    rf"corporate|account|acct|a/c|acc|akaun|to|at|with|simpanan|semasa|ialah|adalah|saya|{_BANKS}"
)
_MONEY_SENT = (
    "transfer(?:red)?|bank(?:ed)?[ \\-]in|remit(?:ted)?|wired?|credit(?:ed)?|debit(?:ed)?|deposit(?:ed)?|"
    "refund(?:ed)?|rebates?|reimburse(?:d|ment)?|payouts?|pay|paid|payments?|money|funds?|bayar(?:an)?|pindah(?:kan)?|"
    "kredit(?:kan)?|duit|wang|pulangan"
)
_LONG_NUMBER = r"(\d(?:[ \-]?\d){8,18})\b"
# Labelled; or further away from a bank or an account, or where money is sent to, in the same sentence: there only what
# is as long as an account; or just before a bank. One pattern for the four, because each look at a text has its price.
_ACCOUNT = Pattern(
    rf"\b(?:(?i:{_ACCOUNT_LABELS})\b(?i:(?:\s{{0,2}}(?:{_ACCOUNT_FILLER})){{0,5}}\s{{0,2}})(\d(?:[\s\-]?\d){{5,18}})\b|"
    rf"(?i:{_ACCOUNT_LABELS}|bank)\b[^\n\d.!?]{{0,40}}[ \-:(,.#]{_LONG_NUMBER}|"
    rf"(?i:(?:{_MONEY_SENT})\b[^\n\d.!?]{{0,24}}[ ](?:to|into|in|at|from|ke|kepada|dalam|dari)"
    rf"(?:[ ](?:my|our|his|her|their|this|the|number|no|nombor|saya|kami|ini))?[ :]{{1,2}}){_LONG_NUMBER}|"
    rf"(\d(?:[ \-]?\d){{7,18}})\b[ ,(]{{1,3}}(?i:{_BANKS})\b)"
)
_PHONE_GROUPS = re.compile(r"0\d{1,2}[ \-]\d{3,4}[ \-]?\d{3,4}\Z")  # 012-345 6789
# "DBS 012-345678-9" has only the bank before it, "wise" not even that.
_CALLED_ACCOUNT = re.compile(
    r"\b(?:account|acct|a/c|acc|akaun|sort code|routing number|giro|iban|bsb)\b", re.IGNORECASE
)
_WISE_ALONE = re.compile(r"wise(?:\s(?:to|at|with))?\s*\Z", re.IGNORECASE)
_ROUND = re.compile(r"\d{1,4}000\Z|\d{0,2}[05]0(?:\s\d{0,3}[05]0)+\Z")  # 150000 and 100 200 300 400 are counted things
_FEW_IN_GROUPS = re.compile(r"(?:\d-?){1,5}\s(?:\d[\s\-]?){0,6}\Z")  # "DBS, 200 120 grit": two numbers
_LAST_DAY = re.compile(r"\s\d{1,2}\Z")
_FEWEST_DIGITS = 8
_SIX_DIGITS = re.compile(r"\d(?:[\s\-]?\d){5}")
_BANK_BEHIND = re.compile(rf"[ ,(]{{1,3}}(?:{_BANKS})\b", re.IGNORECASE)
_ACCOUNT_WIDE = WidePattern(
    r"(?:银行账[号户]|银行帐[号户]|银行卡号?|账号|帐号|账户|帐户|卡号|户口|户头)(?:号码|"
    r"[\s:是为]){0,4}(\d(?:[ \-]?\d){6,18})\b"
)
_ACCOUNT_NEAR_WIDE = WidePattern(
    rf"(?:账[号户]|帐[号户]|户口|户头|银行|{_BANKS_CHINESE}|转账?[到至给]|汇[到至给]|汇款[到至给]|打款?[到进]|退款?[到回进]|"
    rf"存[入进到])[^\n\d。！？]{{0,16}}{_LONG_NUMBER}"
)
_NOT_A_BANK = re.compile(
    r"(?:customer|client|user|login|xero|outlet|member|loyalty|cheque|chq|cek|客户|会员|支票)\s?(?:s\s)?\Z",
    re.IGNORECASE,
)


def luhn_is_valid(digits: str) -> bool:
    """The Luhn check of ISO/IEC 7812-1 annex B."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = ord(char) - 48
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def issuer_lengths(digits: str) -> frozenset[int]:
    """The card lengths that the issuer range of these leading digits allows; empty for no issuer."""
    for low, high, lengths in _ISSUERS:
        if low <= int(digits[: len(str(low))]) <= high:
            return lengths
    return frozenset()


def is_card(digits: str) -> bool:
    """True for digits of a card's length and issuer that pass the Luhn check."""
    return (
        _SHORTEST_CARD <= len(digits) <= _LONGEST_CARD
        and len(digits) in issuer_lengths(digits)
        and luhn_is_valid(digits)
        and len(set(digits)) > 1
    )


def iban_is_valid(compact: str) -> bool:
    """MOD 97-10 over an IBAN without spaces, upper case."""
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in rearranged)) % 97 == 1


def _card_in(written: str) -> tuple[int, int] | None:
    """Where a card number lies inside a run of digits and separators: whole groups only."""
    groups = [(m.start(), m.end()) for m in re.finditer(r"\d+", written)]
    singles = all(end - start == 1 for start, end in groups)
    for first, (start, end) in enumerate(groups):
        if not singles and end - start < _CARD_GROUP:
            continue
        digits = ""
        lengths: frozenset[int] | None = None
        for group_start, group_end in groups[first:]:
            digits += written[group_start:group_end]
            if len(digits) > _LONGEST_CARD:
                break
            if len(digits) < _SHORTEST_CARD:
                continue
            lengths = issuer_lengths(digits) if lengths is None else lengths
            if len(digits) in lengths and luhn_is_valid(digits) and len(set(digits)) > 1:
                return start, group_end
        if singles:
            return None
    return None


def _cards(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _CARD.matches(folded.data):
        found = _card_in(text[match.start : match.end])
        if found is None:
            continue
        start, end = match.start + found[0], match.start + found[1]
        if not _is_part_of_code(text, start, end):
            yield Candidate(start, end, Kind.CREDIT_CARD, _CARD_RANK)


def _is_part_of_code(text: str, start: int, end: int) -> bool:
    before = surroundings.left(text, start)
    if _CARD_WORD.occurs(before):
        return False
    joined = _CARD_JOINED_BEFORE.search(before) or _CARD_JOINED_BEHIND.match(surroundings.right(text, end))
    return joined is not None or surroundings.is_business_number(text, start, end)


def _ibans(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        length = _IBAN_LENGTHS[text[match.start : match.start + 2].upper()]
        positions = [i for i in range(match.start, match.end) if text[i].isalnum()]
        if len(positions) < length:
            return None
        end = positions[length - 1] + 1
        behind = text[end : end + 1]
        if sum(text[i].isdigit() for i in positions[:length]) * 2 < length:
            return None  # words: one in 97 of them passes the check
        compact = "".join(text[i] for i in positions[:length]).upper()
        if (behind.isalnum() and behind.isascii()) or not compact.isascii() or not iban_is_valid(compact):
            return None
        return Candidate(match.start, end, Kind.IBAN, _IBAN_RANK)

    yield from _IBAN.retrying(folded.data, accept)


def _accounts(folded: Folded) -> Iterator[Candidate]:
    text = folded.text

    def accept(match: Match) -> Candidate | None:
        start, end = labelled = match.groups[0]
        if labelled[0] < 0:
            near, paid, beside = match.groups[1:]
            start, end = max(near, paid, beside)
            rank = _NEAR_RANK if near[0] >= 0 else _PAID_RANK
            if beside[0] >= 0 or _BANK_BEHIND.match(text, end):
                rank = _BESIDE_RANK
            return _likely_account(text, match.start, start, end, rank)
        return _labelled_account(text, match.start, start, end)

    if _SIX_DIGITS.search(text):
        yield from _ACCOUNT.retrying(folded.data, accept)


def _labelled_account(text: str, cue: int, start: int, end: int) -> Candidate | None:
    """A number behind the word for an account or the name of a bank, which begins at `cue`."""
    end = _without_count(text, start, end)
    # With hyphens it may be written as an identity card is.
    rank = _ACCOUNT_RANK + (_OVER_IDENTITY if text[start:end].isdigit() else 0)
    if not _CALLED_ACCOUNT.search(text[cue:start]):
        if _says_little(text[cue:start], text[start:end]):
            return None
        return _likely_account(text, cue, start, end, rank)
    if _NOT_A_BANK.search(surroundings.left(text, cue)) or surroundings.is_continued(text, end):
        return None
    if surroundings.is_counted(text, end) or _is_date_in_groups(text[start:end]):
        return None
    return Candidate(start, end, Kind.BANK_ACCOUNT, rank)


def _says_little(bank: str, written: str) -> bool:
    """True for "wise" and few digits, and for two counts behind a bank: "DBS, 200 120 grit"."""
    if _FEW_IN_GROUPS.match(written):
        return True
    return _WISE_ALONE.match(bank) is not None and _digits_in(written) <= _FEWEST_DIGITS


def _without_count(text: str, start: int, end: int) -> int:
    """Where the number ends if what its last groups say is a quantity or a date: "0123456789 500 cups"."""
    dated = dialling.date_behind(text, start, end)
    if dated is not None and _digits_in(text[start:dated]) >= _FEWEST_DIGITS:
        return dated
    last = None
    if surroundings.is_counted(text, end):
        last = surroundings.LAST_GROUP.search(text[start:end])
    elif surroundings.is_dated(text, end):
        last = _LAST_DAY.search(text[start:end])
    if last is None or _digits_in(text[start : start + last.start()]) < _FEWEST_DIGITS:
        return end
    return start + last.start()


def _digits_in(written: str) -> int:
    return sum(c.isdigit() for c in written)


def _is_date_in_groups(written: str) -> bool:
    """True for 28-11-2026; eight digits in one may be an account as well when they are called one."""
    return not written.isdigit() and dialling.reads_as_date(written)


def _likely_account(text: str, cue: int, start: int, end: int, rank: int) -> Candidate | None:
    """A number that no label calls an account; `cue` is where the words begin that suggest it."""
    end = _without_count(text, start, end)
    written = text[start:end]
    if (
        _PHONE_GROUPS.match(written)
        or dialling.reads_as_date(written)
        or _ROUND.match(written)
        or _NOT_A_BANK.search(surroundings.left(text, cue))
        or surroundings.is_joined(text, start, end)
        or surroundings.is_number_of_thing(text, start, end)
    ):
        return None
    return Candidate(start, end, Kind.BANK_ACCOUNT, rank)


def _accounts_chinese(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    for match in _ACCOUNT_NEAR_WIDE.matches(text):
        candidate = _likely_account(text, match.start, *match.groups[0], _NEAR_RANK)
        if candidate is not None:
            yield candidate
    for match in _ACCOUNT_WIDE.matches(text):
        start, end = match.groups[0]
        end = _without_count(text, start, end)
        if surroundings.is_counted(text, end) or _is_date_in_groups(text[start:end]):
            continue
        if not _NOT_A_BANK.search(surroundings.left(text, match.start)):
            yield Candidate(start, end, Kind.BANK_ACCOUNT, _ACCOUNT_RANK)


RULES = (
    Rule("card", r"\d(?:[\s.\-_/]{0,3}\d){12}", _cards),
    Rule("iban", rf"{_IBAN_BEGINS}{{11}}", _ibans),
    Rule(
        "bank account",
        # The words alone: with a number behind them the automaton of all triggers would have many more states.
        rf"\b(?i:{_ACCOUNT_LABELS}|bank|{_MONEY_SENT})\b",
        _accounts,
    ),
    Rule(
        "bank account in Chinese",
        rf"(?:账号|帐号|账户|帐户|卡号|户口|户头|银行|{_BANKS_CHINESE}|[转汇打退存])\D*\d",
        _accounts_chinese,
    ),
)
