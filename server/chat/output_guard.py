"""The last look at a model's words before a person reads them, while they stream.

Taken out: links and addresses at hosts that neither the material nor the customer named, images, HTML, secrets, names
of resources, amounts and percentages that stand nowhere in the material, characters that a screen does not show. What
recites the instructions, or claims an action that no model has, ends the answer. Held back are two words, an unfinished
link, tag, bracket or amount, and the beginning of a recital: never more than `_LONGEST` characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from server.chat.displayed import begun_sequence, displayed
from server.chat.prompt_echo import PromptEcho
from server.pii.kinds import Kind
from server.pii.scan import scan

REMOVED = "[…]"
# What ends so does not go on; the rest may at the end of a text.
_CLOSED = {"html": (">",), "image": (")", "]"), "link": (), "name": (), "amount": ()}
_LONGEST = 1024
_PIECE = 256  # characters that are looked at together
_MOST_REMOVED = 8
_TOLD = 400  # characters of what was told already that a recital is looked for in
# Wide forms of letters, digits and of what links are made of, which a browser reads like the narrow ones.
_WIDE = {
    0xFF01 + place: 0x21 + place for place in range(94) if chr(0x21 + place).isalnum() or chr(0x21 + place) in "./:"
}
_TLD = (
    "com|net|org|io|sg|my|cn|hk|uk|us|eu|example|test|invalid|local|app|dev|co|info|biz|xyz|top|ru|me|link|site|online"
    "|shop|click|ai|ly|gg|tk"
)
_URL = r"[!#$%&'*+,\-./0-9:;=?@A-Z\[\\\]^_`a-z{|}~]"
_HOST = (
    rf"(?:(?:[a-z0-9_-]{{1,63}}\.){{1,8}}(?:{_TLD})|xn--[a-z0-9.-]{{1,100}}|\d{{1,3}}(?:\.\d{{1,3}}){{3}}"
    r"|\[[0-9a-f:.]{2,45}\]|localhost)"
)
_LINK = re.compile(
    rf"(?:(?:https?|ftp|wss?|file)://|//)(?P<netloc>{_URL}{{0,900}})"
    rf"|(?:javascript|vbscript|data|mailto|tel):(?=\S)(?P<other>{_URL}{{0,900}})"
    rf"|(?:[a-z0-9._%+-]{{1,64}}@)?(?<![a-z0-9.-])(?P<bare>{_HOST})(?![a-z0-9-])(?::\d+)?(?:[/?#]{_URL}{{0,900}})?",
    re.IGNORECASE,
)
_HOST_OF = re.compile(rf"^(?:[^/?#@\s]*@)?(?P<host>{_HOST})(?![a-z0-9-])", re.IGNORECASE)
_IMAGE = re.compile(r"!\[(?P<alt>[^\]\n]{0,200})\] ?\([^)\n]{0,900}\)|!\[[^\]\n]{0,200}\]\[[^\]\n]{0,200}\]")
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]{0,400}>?")
_NAME = re.compile(
    r"(?:tenants|outlets|conversations|messages|runs|orders|proposals|invoices|documents|subjects|customers)/[A-Za-z0-9_.@-]{1,128}(?:/[A-Za-z0-9_.@-]{1,128}){0,4}"
)
_CURRENCY = r"(?:SGD|S\$|US\$|USD|MYR|RM|CNY|RMB|[$¥€£￥]|新元|新币|令吉|人民币)"
_AFTER = r"(?:SGD|USD|MYR|RMB|dollars?|cents?|ringgit|sen|新元|新币|令吉|元|块|毛|%|％|percent|peratus|折)"
_AMOUNT = re.compile(
    rf"(?<![A-Za-z0-9]){_CURRENCY}\s?(?P<first>\d[\d,]{{0,15}}(?:\.\d{{1,6}})?)|(?<![A-Za-z0-9.,-])(?P<last>\d[\d,]{{0,15}}(?:\.\d{{1,6}})?)\s?{_AFTER}(?![A-Za-z])",
    re.IGNORECASE,
)
_OPEN = re.compile(
    r"(?:<[a-zA-Z/!?]?[^<>]{0,400}|!?\[[^\]\n]{0,200}(?:\](?: ?\([^)\n]{0,900}|\[[^\]\n]{0,200})?)?"
    rf"|{_CURRENCY}\s?[\d,.]{{0,24}}|\d[\d,.]{{0,24}}\s?[A-Za-z]{{0,8}})\Z",
    re.IGNORECASE,
)
_LAST_WORDS = re.compile(r"(?:[^\s\u2e80-\uffef]{1,900}\s{0,8}|[\u2e80-\uffef]\s{0,8}){1,2}\Z")
_KEYLIKE = re.compile(r"(?=\S*\d)\S{12,}|-----BEGIN|(?i:passwords?|secret|token|api.?key|kata laluan|密码|密钥)")


_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY")


# What no model can have done here. That an order "is confirmed" may be read from its state; "I confirmed it" may not.
_CLAIM = re.compile(
    r"\bI(?:'ve|’ve| have)?(?: just| also| now| already){0,2} "
    r"(?:confirmed|placed|cancelled|canceled|approved|submitted|booked|changed|updated|refunded)\b"
    r"|\bsaya (?:telah|sudah|dah) (?:\w+ )?"
    r"(?:mengesahkan|sahkan|membatalkan|batalkan|menempah|meluluskan|mengemas)\b"
    r"|(?:我(?:已经|已|刚刚)|已经?(?:为|帮|替)您)[^，。\n]{0,6}(?:确认|下单|取消|批准|修改|退款)",
    re.IGNORECASE,
)


class LeakedError(Exception):
    """The answer must not go on; nothing of the piece was released. `what` names the check."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Allowed:
    """What an answer may name: hosts, addresses, resources and amounts of the material, hosts of the customer."""

    def __init__(self) -> None:
        self._links: set[str] = set()
        self._names: set[str] = set()
        self._amounts: set[Decimal] = set()

    def material(self, text: str) -> None:
        """What the supplier wrote may be said again."""
        self.customer(text)
        self._amounts.update(amounts(text))

    def customer(self, text: str) -> None:
        """A host that the customer named is no surprise to the customer; an amount would be a promise."""
        self._links.update(host for link in _LINK.finditer(text.translate(_WIDE)) if (host := host_of(link)))
        self._names.update(_NAME.findall(text))

    def link(self, host: str) -> bool:
        return bool(host) and host in self._links

    def name(self, name: str) -> bool:
        return name in self._names

    def amount(self, figure: str) -> bool:
        value = _decimal(figure)
        return value is not None and value in self._amounts


class OutputGuard:
    """Fed with pieces in order. `removed` counts what was taken out, by check."""

    def __init__(self, allowed: Allowed, echo: PromptEcho) -> None:
        self._allowed = allowed
        self._echo = echo
        self._held = ""
        self._told = ""
        self.removed: dict[str, int] = {}

    def feed(self, piece: str) -> str:
        """What may be told now. Raises `LeakedError`."""
        return "".join(self._fed(piece[at : at + _PIECE]) for at in range(0, len(piece), _PIECE))

    def _fed(self, piece: str) -> str:
        raw = self._held + piece
        begun = begun_sequence(raw)
        text = self._cleaned(displayed(raw[:begun]), final=False)
        cut = min(self._open(text), self._recital(text))
        if len(text) - cut > _LONGEST:
            raise LeakedError("endless word")
        return self._release(text + raw[begun:], cut)

    def finish(self) -> str:
        """The rest. Raises `LeakedError`."""
        text = self._cleaned(displayed(self._held), final=True)
        self._recital(text)
        return self._release(text, len(text))

    def _recital(self, text: str) -> int:
        """Where a recital may have begun in `text`."""
        seen = self._echo.look(self._told + text)
        if _CLAIM.search(self._told[-80:] + text):
            raise LeakedError("claim")
        if seen.leaked:
            raise LeakedError("prompt")
        return max(seen.open_at - len(self._told), 0)

    def _release(self, text: str, cut: int) -> str:
        if sum(self.removed.values()) > _MOST_REMOVED:
            raise LeakedError("too much to remove")
        self._held = text[cut:]
        self._told = (self._told + text[:cut])[-_TOLD:]
        return text[:cut]

    @staticmethod
    def _open(text: str) -> int:
        """Where something begins that may go on."""
        near, wide = max(0, len(text) - _LONGEST - _PIECE), text.translate(_WIDE)
        found = [match.start() for match in (_OPEN.search(wide, near), _LAST_WORDS.search(wide, near)) if match]
        return min(found, default=len(text))

    def _cleaned(self, text: str, *, final: bool) -> str:
        text = self._without(text, _IMAGE, "image", final=final)
        text = self._without(text, _LINK, "link", final=final)
        text = self._without(text, _TAG, "html", final=final)
        text = self._without(text, _NAME, "name", final=final)
        text = self._without(text, _AMOUNT, "amount", final=final)
        return self._without_secrets(text, final=final)

    def _without(self, text: str, pattern: re.Pattern[str], what: str, *, final: bool) -> str:
        parts: list[str] = []
        at = 0
        for match in pattern.finditer(text.translate(_WIDE)):  # one character for one: places are the same
            # "SGD 0." may become "SGD 0.65": a mark behind a figure is no end of it yet.
            rest = text[match.end() :].lstrip(".,") if what == "amount" else text[match.end() :]
            growing = not rest and not final and not match[0].endswith(_CLOSED[what])
            if growing or self._may(match, what):
                continue
            self.removed[what] = self.removed.get(what, 0) + 1
            parts += [text[at : match.start()], "" if what == "html" else REMOVED]
            at = match.end()
        return "".join([*parts, text[at:]]) if at else text

    def _may(self, match: re.Match[str], what: str) -> bool:
        match what:
            case "link":
                return self._allowed.link(host_of(match))
            case "name":
                return self._allowed.name(match[0])
            case "amount":
                return self._allowed.amount(match["first"] or match["last"])
        return False

    def _without_secrets(self, text: str, *, final: bool) -> str:
        if not _KEYLIKE.search(text):
            return text
        if _PRIVATE_KEY.search(text):
            raise LeakedError("secret")
        context = self._told[-80:]
        for span_start, span_end in reversed(list(_secrets(context + text))):
            start, end = max(span_start - len(context), 0), span_end - len(context)
            if end > 0 and (end < len(text) or final):
                self.removed["secret"] = self.removed.get("secret", 0) + 1
                text = text[:start] + REMOVED + text[end:]
        return text


def amounts(text: str) -> Iterator[Decimal]:
    """Every figure of a text, whatever it counts: the material's numbers may be said."""
    for figure in re.findall(r"\d[\d,]{0,15}(?:\.\d{1,6})?", text):
        if (value := _decimal(figure)) is not None:
            yield value


def names_something(text: str) -> bool:
    """Whether it names a link or a resource, which an answer to it may then name too."""
    return bool(_LINK.search(text.translate(_WIDE)) or _NAME.search(text))


def host_of(link: re.Match[str]) -> str:
    """The host of a link, empty where it has none that can be named."""
    if link["bare"]:
        return link["bare"].lower()
    found = _HOST_OF.match(link["netloc"] or "") or (_HOST_OF.match(link["other"]) if link["other"] else None)
    return found["host"].lower() if found else ""


def _secrets(text: str) -> Iterator[tuple[int, int]]:
    return ((span.start, span.end) for span in scan(text) if span.kind is Kind.SECRET)


def _decimal(figure: str) -> Decimal | None:
    try:
        return Decimal(figure.replace(",", ""))
    except InvalidOperation:
        return None
