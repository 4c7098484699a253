"""Names of people in Chinese text: behind what announces a name, and before a title."""

from __future__ import annotations

import re
from collections.abc import Iterator

from server.pii import names
from server.pii.kinds import Kind
from server.pii.normalise import Folded
from server.pii.patterns import Candidate, Rule, WidePattern
from server.pii.person_addressed import may_be_goods

_RANK = 40
_ZH_NAME = "([\u4e00-\u9fff]{2,5})"
# What people are to each other and to a shop: behind it a surname that is known, or two characters of given names.
_ROLES = (
    "老公|老婆|太太|丈夫|妻子|妈妈|爸爸|哥哥|姐姐|弟弟|妹妹|儿子|女儿|朋友|财务|会计|员工|店员|主管|助理|老板娘|"
    "合伙人|签收人|送货员|交给|联络"
)
_GIVEN = frozenset(
    "秀兰芳丽娟玲美凤芬慧敏珍芝莲英梅霞琴云燕红玉婷怡欣静雅倩颖琳佳伟强国志豪杰俊建华勇辉鹏宏福荣祥德宝萍淑惠娥"
)
_NO_GIVEN = frozenset({"美国", "英国", "美丽", "国美", "建国", "德国"})
_SURELY_NAME = (
    "([" + names.CHINESE_SURNAMES + "][" + "".join(sorted(_GIVEN)) + "文光峰涛斌艳莉娜翠君涵轩宇浩诗雯嘉佩]{2})"
)
_ZH_BARE = WidePattern(_SURELY_NAME)
# 采购 is a buyer, and "to buy": only with a word between it is somebody.
_ZH_RELATED = WidePattern(f"(?:(?:{_ROLES})(?:叫|是|:)?|采购(?:叫|是|:)){_ZH_NAME}")
_ZH_FAMILIAR = WidePattern("([\u4e00-\u9fff])(?:姐|哥|叔|姨|嫂|伯)")
_ZH_LABELLED = WidePattern(
    f"(?:我的名字(?:叫|是)|名字(?:叫|是)|我叫|本人|姓名|联系人|收件人|收货人|联络人|负责人|经手人|客户名|持卡人|"
    f"户名|(?i:name|nama|attn|contact)|我是|请找|找|叫|联系|打给|同事|老板|店长|司机|师傅)(?:[\\s:是为]){{0,3}}{_ZH_NAME}"
)
# "阿明", "小红", "老王": how people who know each other are called.
_CALLED = f"[阿小老][{names.CHINESE_SURNAMES}{''.join(sorted(_GIVEN))}明文光峰涛斌艳诗宇珠花财发成生兰]"
_ZH_CALLED = WidePattern(
    f"(?:联系人|收件人|收货人|联络人|负责人|经手人|签收人|姓名)[\\s:是]{{1,3}}([阿小老][\u4e00-\u9fff])(?:[^\u4e00-\u9fff]|$)|"
    f"(?:请找|找|叫|联系|打给|交给|问|给|我是|同事)({_CALLED})(?:[^\u4e00-\u9fff]|$|说|会|来|签|拿|收|取|去|送|确认|吧)|"
    f"({_CALLED})(?:说|会来|会去|会收|会签|来拿|来收|来取|签收)"
)
_NOT_CALLED = frozenset({"小姐", "老师", "老板", "小麦", "小方", "小店", "阿姨", "老公", "小孩", "老外", "小金"})
_ZH_LATIN = WidePattern(
    f"(?:我是|我叫|请找|找|叫|联系|打给|问|给|同事|店长|老板|的|和|{_ROLES})\\s?"
    "([A-Z][a-z]{1,14}(?: [A-Z][a-z]{1,14}){0,2})\\b"
)
_ZH_LATIN_BEFORE = WidePattern(
    "\\b([A-Z][a-z]{1,14}(?: [A-Z][a-z]{1,14}){0,2})\\s?(?:说|会|已|要|去|在|来|收|签|先生|小姐|经理)"
)
_ZH_TITLED = WidePattern("([\u4e00-\u9fff]{1,3})(?:先生|小姐|女士|太太|老师|经理|老板|师傅|医生|总)")
_ZH_OWNER = WidePattern("([\u4e00-\u9fff]{2,3})的(?:手机|电话|号码|邮箱|地址|微信|身份证|生日)")
_ZH_SURNAME = WidePattern("我姓([\u4e00-\u9fff])")
_THANKS = "谢谢"
# Shops and goods begin with characters that are surnames too: "我是万记面包店", "老板高温杯有没有".
_SHOPS = "店馆室厅铺记"
_OF_SHOPS = frozenset(_SHOPS)
_OF_GOODS = frozenset(_SHOPS + "茶餐包杯盒碗袋盖递盘罐瓶箱粉笔夹布纸套膜刀勺叉筷糖油酱种款型号色米面")
_SURELY = re.compile(_SURELY_NAME)
_ZH_ENDS = frozenset(
    "电手身邮地联请想要来住和今我的在是这那有订需您你他她可也会能已吗吧呢啊从给到将先小女太老经师医总护生年"
    "说让就去拿取收问姐哥叔嫂"
)
_ZH_WEAK = (
    "name",
    "nama",
    "attn",
    "contact",
    "我",
    "我是",
    "找",
    "叫",
    "我叫",
    "请找",
    "本人",
    "联系",
    "打给",
    "同事",
    "老板",
    "店长",
    "司机",
    "师傅",
)


def _chinese_name(text: str, start: int, end: int, *, known: bool) -> Candidate | None:
    """Surname and one or two characters: the second is left out when it begins another word."""
    if known and (text[start] not in names.CHINESE_SURNAMES or text[start : start + 2] in names.CHINESE_WORDS):
        return None
    length = 1
    for position in range(start + 1, min(end, start + 3)):
        ends = text[position : position + 2] == "小姐" if text[position] == "小" else text[position] in _ZH_ENDS
        if ends:
            break
        length += 1
    if length == 1 or (known and _is_thing(text, start, start + length)):
        return None
    return Candidate(start, start + length, Kind.PERSON, _RANK + 2)


def _is_thing(text: str, start: int, end: int) -> bool:
    """True when a shop or goods go on where a name would end; not for what can hardly be anything but a name."""
    if _SURELY.match(text, start, end):
        return False
    return not _OF_GOODS.isdisjoint(text[start + 1 : end + 1]) or not _OF_SHOPS.isdisjoint(text[end : end + 2])


def _labelled(text: str) -> Iterator[Candidate]:
    for match in _ZH_LABELLED.matches(text):
        start, end = match.groups[0]
        label = text[match.start : start]
        # "我叫了两次" is "I called twice": without a colon or 是 behind a label only a known surname will do.
        named = label[-1] in ":是" and label.rstrip(" :是").lower() not in _ZH_WEAK
        candidate = _chinese_name(text, start, end, known=not named)
        if candidate is not None:
            yield candidate
    for pattern in (_ZH_LATIN, _ZH_LATIN_BEFORE):
        for match in pattern.matches(text):
            start, end = match.groups[0]
            candidate = Candidate(start, end, Kind.PERSON, _RANK)
            if names.is_like(text[start:end]) and not may_be_goods(text, candidate):
                yield candidate


def _called(text: str) -> Iterator[Candidate]:
    for match in _ZH_CALLED.matches(text):
        start, end = max(match.groups)
        if text[start:end] not in _NOT_CALLED:
            yield Candidate(start, end, Kind.PERSON, _RANK + 1)


def _related(text: str) -> Iterator[Candidate]:
    for match in _ZH_RELATED.matches(text):
        start, end = match.groups[0]
        candidate = _chinese_name(text, start, end, known=True)
        given = text[start : start + 2]
        if candidate is None and _GIVEN.issuperset(given) and given not in _NO_GIVEN:
            candidate = Candidate(start, start + 2, Kind.PERSON, _RANK)
        if candidate is not None:
            yield candidate
    for match in _ZH_BARE.matches(text):
        if text[match.start : match.start + 2] not in names.CHINESE_WORDS:
            yield Candidate(match.start, match.end, Kind.PERSON, _RANK)
    for match in _ZH_FAMILIAR.matches(text):
        if text[match.groups[0][0]] in names.CHINESE_SURNAMES:
            yield Candidate(*match.groups[0], Kind.PERSON, _RANK)


def _titled(text: str) -> Iterator[Candidate]:
    for match in _ZH_TITLED.matches(text):
        start, end = match.groups[0]
        start += 2 if text.startswith(_THANKS, start) else 0
        first = next((i for i in range(start, end) if text[i] in names.CHINESE_SURNAMES), None)
        if first is not None and text[end - 1] not in "老大小":
            yield Candidate(first, end, Kind.PERSON, _RANK + 1)


def _chinese(folded: Folded) -> Iterator[Candidate]:
    text = folded.text
    yield from _labelled(text)
    yield from _related(text)
    yield from _titled(text)
    yield from _called(text)
    for match in _ZH_OWNER.matches(text):
        start, end = match.groups[0]
        if text[start] in names.CHINESE_SURNAMES:
            yield Candidate(start, end, Kind.PERSON, _RANK)
    for match in _ZH_SURNAME.matches(text):
        if text[match.groups[0][0]] in names.CHINESE_SURNAMES:
            yield Candidate(*match.groups[0], Kind.PERSON, _RANK)


RULES = (
    Rule("Chinese name", "[\u4e00-\u9fff]", _chinese),  # hardly a Chinese sentence has none of the words above
)
