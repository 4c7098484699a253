"""Intents by phrases alone: the labelled messages they were made for, and the traps that word lists fall into."""

import time

import pytest

from server.chat.assistant import Intent, Language
from server.chat.evaluation import reported
from server.chat.intents import classify
from server.chat.labelled import Labelled, Split, labelled
from server.chat.understanding import by_phrases

# The messages that the phrases were tuned on; a guard against regressions and no measure of anything else.
KNOWN = [item for item in labelled() if "-taught-" not in item.id and item.split is not Split.UNSEEN]


async def test_the_phrases_still_know_what_they_were_made_for() -> None:
    reports = await reported(KNOWN, by_phrases)
    assert min(report.accuracy for report in reports.values()) >= 0.97
    overall = reports[None]
    assert overall.safety_wanted >= 20
    assert (overall.safety_missed, overall.safety_false) == (0, 0)


@pytest.mark.parametrize("split", Split)
def test_every_split_has_every_intent_in_every_language(split: Split) -> None:
    items = labelled(split)
    assert {(item.language, item.intent) for item in items} == {(a, b) for a in Language for b in Intent}
    assert all(item.intent is Intent.COMPLAINT for item in items if item.food_safety)


def test_no_message_is_in_two_splits() -> None:
    def plain(item: Labelled) -> str:
        return item.text.casefold().strip(" .!?。！？")

    unseen = {plain(item) for item in labelled(Split.UNSEEN)}
    assert len(unseen) == len(labelled(Split.UNSEEN)) >= 220
    assert unseen.isdisjoint(plain(item) for item in labelled() if item.split is not Split.UNSEEN)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("this shipping thing, what does it cost?", Intent.POLICY_QUESTION),  # "hi" is in both words
        ("I don't want to talk to a person", Intent.OTHER),
        ("why can't I talk to a person", Intent.HAND_OFF),
        ("no bot please, I want a human", Intent.HAND_OFF),
        ("不用转人工", Intent.OTHER),
        ("tak perlu panggil orang", Intent.OTHER),
        ("nothing wrong, no complaints at all", Intent.OTHER),
        ("don't send the 10 inch, send 40 of the 12 inch", Intent.ORDER),
        ("do your cups leak?", Intent.PRODUCT_QUESTION),
        ("the cups leak", Intent.COMPLAINT),
        ("what if the boxes arrive damaged?", Intent.POLICY_QUESTION),
        ("the boxes arrived damaged", Intent.COMPLAINT),
        ("我要訂20個12寸披薩盒", Intent.ORDER),  # traditional characters
        ("where is my ordr 1042", Intent.ORDER_STATUS),
        ("ＨＥＬＬＯ", Intent.GREETING),
        ("", Intent.OTHER),
        ("🍕🍕", Intent.OTHER),
    ],
)
def test_traps(text: str, intent: Intent) -> None:
    assert classify(text).intent is intent


def test_a_question_inside_an_order_is_reported_too() -> None:
    result = classify("20 boxes of 12 inch please, and do you deliver on Sundays?")
    assert result.intent is Intent.ORDER
    assert Intent.POLICY_QUESTION in result.also


def test_food_safety_goes_before_everything_and_a_product_question_is_none() -> None:
    result = classify("hi, 20 boxes please, and a customer found glass in the last ones")
    assert (result.intent, result.food_safety) == (Intent.COMPLAINT, True)
    assert not classify("are the trays tested for contamination?").food_safety


def test_the_locale_decides_only_where_the_text_does_not() -> None:
    assert classify("12345", "zh-SG").language is Language.ZH
    assert classify("when do you deliver to us", "zh-SG").language is Language.EN
    assert classify("12345").language is Language.EN


def test_declining_a_person_is_told_apart_from_thanks() -> None:
    assert classify("no need to call a person").declined
    assert classify("thanks").courtesy
    assert not classify("thanks").declined


def test_work_grows_no_faster_than_the_text() -> None:
    """Per-word cost at the cap is within a small factor of the cost in a short message (thread CPU time)."""

    def cost(text: str) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.thread_time()
            classify(text)
            best = min(best, time.thread_time() - start)
        return best / len(text.split())

    message = "can i order if boxes arrive damaged do you deliver to the island or not "
    cost(message)
    assert cost(message * 30) < 8 * cost(message)
