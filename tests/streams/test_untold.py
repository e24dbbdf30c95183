"""What an endpoint is still to be told: order, isolation and how far Kafka is told, whatever is answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from casework.webhooks import Answer, WebhookEvent, pause_s
from streams.records import ReadRecord, TopicPartition
from streams.untold import MOST_FAILURES_ALONE, MOST_REFUSALS, Untold

PLACE = TopicPartition("topic", 0)


def event(card: str, offset: int) -> WebhookEvent:
    return WebhookEvent(f"event-{offset}", "case.noted", card, offset, b"{}")


def record(offset: int, partition: int = 0) -> ReadRecord:
    return ReadRecord("topic", partition, offset, 0, None, None, ())


def no_pause(_failures: int) -> float:
    return 0.0


class Telling:
    """Plays an endpoint of one kind on a clock of its own, as the role would, but one event of a card a round."""

    def __init__(self, untold: Untold, reply: Callable[[WebhookEvent, float], Answer]) -> None:
        self.untold, self.reply, self.now_s = untold, reply, 0.0
        self.asked: list[tuple[float, str]] = []
        self.taken: list[str] = []
        self.given_up: list[str] = []

    def round(self) -> None:
        """Ask all who are due."""
        answers = []
        for chain in self.untold.due(self.now_s):
            waiting = chain.events[0]
            waiting.attempts += 1
            self.asked.append((self.now_s, waiting.event.webhook_id))
            answer = self.reply(waiting.event, self.now_s)
            answers.append(answer)
            if answer is Answer.DELIVERED:
                self.taken.append(waiting.event.webhook_id)
                self.untold.ended(chain, is_taken=True)
                continue
            self.untold.failed(chain, answer, self.now_s)
            if waiting.is_hopeless:
                self.given_up.append(waiting.event.webhook_id)
                self.untold.ended(chain, is_taken=False)
        self.untold.round_over(answers, self.now_s)

    def run(self, until_s: float) -> None:
        """Go on until then, or until nothing is left."""
        while len(self.untold) and self.now_s <= until_s:
            self.round()
            self.now_s = max(self.untold.next_s(), self.now_s + 0.01) if len(self.untold) else self.now_s


@given(
    cards=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
    answers=st.lists(st.sampled_from([Answer.DELIVERED, Answer.UNAVAILABLE, Answer.REFUSED]), max_size=200),
)
def test_order_and_ends_hold_whatever_is_answered(cards: list[str], answers: list[Answer]) -> None:
    """Events of a card end in order, each once; never is an offset told to Kafka behind which one is left."""
    untold, left = Untold(no_pause), list(answers)
    for offset, card in enumerate(cards):
        untold.add(record(offset), event(card, offset), 0.0)
    telling = Telling(untold, lambda _event, _now_s: left.pop() if left else Answer.DELIVERED)
    while len(untold):
        assert len(untold.due(telling.now_s)) <= (1 if untold.is_away else len(set(cards)))
        before = [*telling.taken, *telling.given_up]
        open_offsets = [offset for offset in range(len(cards)) if f"event-{offset}" not in before]
        assert untold.ends() == {PLACE: min(open_offsets)}
        telling.round()
        telling.now_s += 1.0
    ended = [*telling.taken, *telling.given_up]
    assert sorted(ended) == sorted(f"event-{offset}" for offset in range(len(cards)))
    assert untold.ends() == {PLACE: len(cards)}
    asked_by_card: defaultdict[str, list[int]] = defaultdict(list)
    for _, asked in telling.asked:
        offset = int(asked.removeprefix("event-"))
        asked_by_card[cards[offset]].append(offset)
    assert all(offsets == sorted(offsets) for offsets in asked_by_card.values())


def test_one_event_that_breaks_the_endpoint_holds_up_nobody() -> None:
    """It answers 500 for one event and takes all others as they come; that one is given up within some hours."""
    untold = Untold(lambda failures: pause_s(failures, 0.5))
    bad = "event-0"
    telling = Telling(untold, lambda told, _now_s: Answer.UNAVAILABLE if told.webhook_id == bad else Answer.DELIVERED)
    untold.add(record(0), event("card-bad", 0), 0.0)
    came_s: dict[str, float] = {}
    for number in range(1, 600):
        untold.add(record(number), event(f"card-{number}", number), telling.now_s)
        came_s[f"event-{number}"] = telling.now_s
        telling.run(telling.now_s + 10)
        telling.now_s = number * 30.0
    assert telling.given_up == [bad]
    assert MOST_FAILURES_ALONE < sum(asked == bad for _, asked in telling.asked) < 2 * MOST_FAILURES_ALONE
    assert telling.taken == list(came_s)
    first_s = {asked: at_s for at_s, asked in reversed(telling.asked)}
    assert max(first_s[told] - came_s[told] for told in came_s) <= 10


def test_a_refused_event_is_asked_about_six_times() -> None:
    """Two and a half minutes, and others go on at once."""
    untold = Untold(lambda failures: pause_s(failures, 0.999))
    telling = Telling(untold, lambda told, _now_s: Answer.REFUSED if told.card_token == "card-0" else Answer.DELIVERED)
    for number in range(3):
        untold.add(record(number), event(f"card-{number}", number), 0.0)
    telling.round()
    assert telling.taken == ["event-1", "event-2"]
    assert untold.ends() == {PLACE: 0}
    telling.run(1000)
    assert telling.given_up == ["event-0"]
    assert len(telling.asked) == 2 + MOST_REFUSALS
    assert 100 < telling.now_s < 200


def test_one_that_is_away_is_asked_seldom_and_by_all_in_turn() -> None:
    """An outage of ten hours costs a post every few minutes, however much waits; after it everything is told."""
    untold, back_s = Untold(lambda failures: pause_s(failures, 0.5)), 36_000.0
    telling = Telling(untold, lambda _told, now_s: Answer.DELIVERED if now_s >= back_s else Answer.UNAVAILABLE)
    for number in range(64):
        untold.add(record(number), event(f"card-{number}", number), 0.0)
    telling.run(back_s - 1)
    later = [asked for at_s, asked in telling.asked if at_s > 0]
    assert untold.is_away
    assert len(later) < back_s / 150
    assert len(set(later)) == 64
    assert untold.oldest_failed_ms() == 0
    telling.run(back_s + 600)
    assert telling.given_up == []
    assert len(telling.taken) == 64
    assert untold.oldest_failed_ms() is None


def test_what_others_tell_now_is_forgotten() -> None:
    """Neither asked about nor committed; what stands elsewhere stays."""
    untold = Untold(no_pause)
    for number in range(4):
        untold.add(record(number // 2, number % 2), event(f"card-{number // 3}", number), 0.0)
    untold.add(record(2), None, 0.0)
    assert untold.ends() == {PLACE: 0, PLACE._replace(partition=1): 0}
    untold.forget([PLACE])
    assert (len(untold), untold.ends()) == (2, {PLACE._replace(partition=1): 0})
    telling = Telling(untold, lambda _told, _now_s: Answer.DELIVERED)
    telling.run(10)
    assert telling.taken == ["event-1", "event-3"]
    assert untold.ends() == {PLACE._replace(partition=1): 2}
