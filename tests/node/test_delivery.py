"""What is sent next and again: examples, then a machine of any acks, losses and times."""

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tocsin_node.delivery import (
    BATCH_BYTES,
    BATCH_EVENTS,
    LATE_WINDOW,
    LIVE_SECONDS,
    RESEND_SECONDS,
    WINDOW,
    Batch,
    Delivery,
)
from tocsin_node.outbox_table import Row


def row(seq: int, label: str = "siren", *, size: int = 500, tries: int = 0) -> Row:
    return Row(seq, f"id-{seq}", label, b"x" * size, tries)


class Rows:
    """An outbox in a list."""

    def __init__(self, *rows: Row) -> None:
        self.kept = list(rows)

    def waiting(self, limit: int, after: int, without: Iterable[int]) -> list[Row]:
        left_out = set(without)
        found = [one for one in self.kept if one.seq > after and one.seq not in left_out]
        return sorted(found, key=lambda one: one.order)[:limit]


def connected(last_seq: int) -> Delivery:
    made = Delivery()
    made.connected(last_seq)
    return made


def sent_now(delivery: Delivery, rows: Rows, now: float = 0.0) -> list[Batch]:
    batches = []
    while (batch := delivery.next(rows.waiting, now)) is not None:
        batches.append(batch)
    return batches


def test_what_was_made_in_this_connection_goes_alone_and_at_once_and_before_what_is_old() -> None:
    rows = Rows(row(1), row(2), row(3, "dog_bark"), row(4))
    delivery = connected(last_seq=2)
    delivery.made(3, 0.0)
    delivery.made(4, 0.0)
    batches = sent_now(delivery, rows)
    assert [(batch.seqs, batch.late) for batch in batches] == [((4,), False), ((3,), False), ((1, 2), True)]


def test_a_row_committed_by_another_thread_a_moment_ago_is_live_before_it_is_announced() -> None:
    delivery = connected(last_seq=2)
    assert [batch.late for batch in sent_now(delivery, Rows(row(3)))] == [False]


def test_a_row_that_waited_long_in_this_connection_is_late() -> None:
    delivery = connected(0)
    delivery.made(1, 0.0)
    batch = delivery.next(Rows(row(1)).waiting, LIVE_SECONDS + 1.0)
    assert batch is not None
    assert batch.late


def test_a_live_row_is_found_behind_any_number_of_old_ones() -> None:
    rows = Rows(*(row(seq, "smoke_alarm") for seq in range(1, 5000)), row(5000, "dog_bark"))
    delivery = connected(0)
    for seq in range(1, 5000):
        delivery.made(seq, 0.0)
    delivery.overdue(LIVE_SECONDS + 1.0)
    delivery.made(5000, LIVE_SECONDS + 1.0)
    first = delivery.next(rows.waiting, LIVE_SECONDS + 1.5)
    assert first == Batch((rows.kept[-1],), late=False)


def test_batches_keep_to_their_size_and_a_row_larger_than_that_goes_alone() -> None:
    rows = Rows(*(row(seq, size=5000) for seq in range(1, 40)), row(40, size=BATCH_BYTES + 1))
    delivery = connected(40)
    seen: list[int] = []
    while batch := delivery.next(rows.waiting, 0.0):
        assert len(batch.rows) == 1 or sum(len(one.payload) for one in batch.rows) < BATCH_BYTES
        seen += batch.seqs
        delivery.answered(batch.seqs)
        rows.kept = [one for one in rows.kept if one.seq not in batch.seqs]
    assert seen == list(range(1, 41))


def test_old_rows_never_take_the_whole_window() -> None:
    rows = Rows(*(row(seq) for seq in range(1, 5000)))
    delivery = connected(4999)
    assert len(sent_now(delivery, rows)) == LATE_WINDOW
    for seq in range(5000, 5050):
        rows.kept.append(row(seq))
        delivery.made(seq, 0.0)
    assert len(sent_now(delivery, rows)) == WINDOW - LATE_WINDOW


def test_without_an_answer_it_goes_again_and_nobody_is_blamed_while_none_is_answered() -> None:
    rows = Rows(row(1))
    delivery = connected(0)
    delivery.made(1, 0.0)
    sent_now(delivery, rows, 0.0)
    assert sent_now(delivery, rows, RESEND_SECONDS - 0.1) == []
    assert delivery.wake_in(RESEND_SECONDS - 0.5) == 0.5
    assert delivery.overdue(RESEND_SECONDS) == []
    assert [batch.seqs for batch in sent_now(delivery, rows, RESEND_SECONDS)] == [(1,)]


def test_a_row_that_stays_behind_while_later_ones_are_answered_is_refused() -> None:
    rows = Rows(row(1), row(2))
    delivery = connected(0)
    delivery.made(1, 0.0)
    delivery.next(rows.waiting, 0.0)
    delivery.made(2, 1.0)
    delivery.next(rows.waiting, 1.0)
    delivery.answered([2])
    assert delivery.overdue(RESEND_SECONDS) == [1]


def test_a_row_left_out_of_the_answer_to_its_own_batch_is_refused_too() -> None:
    rows = Rows(row(1), row(2), row(3))
    delivery = connected(3)
    sent_now(delivery, rows)
    delivery.answered([1, 3])
    assert delivery.overdue(RESEND_SECONDS) == [2]


def test_the_batches_of_a_refused_row_are_halved_until_it_is_alone() -> None:
    sizes = []
    for tries in range(8):
        rows = Rows(row(1, tries=tries), *(row(seq) for seq in range(2, 200)))
        batch = connected(200).next(rows.waiting, 0.0)
        assert batch is not None
        sizes.append(len(batch.rows))
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1]


def test_a_connection_that_breaks_under_batches_gets_smaller_ones_until_one_is_answered() -> None:
    rows = Rows(*(row(seq, size=10) for seq in range(1, 1000)))
    delivery = connected(999)
    sizes = []
    for _ in range(8):
        batch = delivery.next(rows.waiting, 0.0)
        assert batch is not None
        sizes.append(len(batch.rows))
        delivery.connected(999)
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1]
    batch = delivery.next(rows.waiting, 0.0)
    assert batch is not None
    delivery.answered(batch.seqs)
    rows.kept.pop(0)
    again = delivery.next(rows.waiting, 0.0)
    assert again is not None
    assert len(again.rows) == BATCH_EVENTS


def test_while_the_hub_is_away_nothing_is_repeated_and_on_its_return_everything_is() -> None:
    rows = Rows(row(1))
    delivery = connected(0)
    delivery.made(1, 0.0)
    delivery.hub(away=True)
    sent_now(delivery, rows)
    assert delivery.overdue(1000.0) == []
    assert sent_now(delivery, rows, 20.0) == []
    delivery.hub(away=False)
    assert [batch.seqs for batch in sent_now(delivery, rows, 21.0)] == [(1,)]


def test_old_rows_go_at_a_bounded_rate_and_live_ones_do_not_wait_for_them() -> None:
    rows = Rows(*(row(seq, size=10) for seq in range(1, 1001)))
    delivery = Delivery(late_per_second=100.0)
    delivery.connected(1000)
    sent = 0
    for tick in range(500):
        now = tick * 0.01
        if tick == 200:
            rows.kept.append(row(2000))
            delivery.made(2000, now)
        for batch in sent_now(delivery, rows, now):
            if not batch.late:
                assert tick == 200
            sent += batch.late * len(batch.rows)
            delivery.answered(batch.seqs)
            rows.kept = [one for one in rows.kept if one.seq not in batch.seqs]
        assert sent <= BATCH_EVENTS + 100.0 * now + 1e-6
    assert sent >= 100.0 * 4.9 - BATCH_EVENTS, "and not much slower either"
    assert 2000 not in {one.seq for one in rows.kept}


def test_the_sender_wakes_when_the_next_old_rows_may_go() -> None:
    rows = Rows(*(row(seq, size=10) for seq in range(1, 1001)))
    delivery = Delivery(late_per_second=64.0)
    delivery.connected(1000)
    assert len(sent_now(delivery, rows, 10.0)) == 1
    assert delivery.wake_in(10.25) == 0.75
    assert sent_now(delivery, rows, 10.99) == []
    assert len(sent_now(delivery, rows, 11.0)) == 1


class AnyWeather(RuleBasedStateMachine):
    """Rows are made, lost, answered and refused in any order; in the end, all arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.delivery = connected(0)
        self.rows = Rows()
        self.now = 0.0
        self.made = 0
        self.flying: list[tuple[float, set[int]]] = []

    @rule(label=st.sampled_from(["siren", "dog_bark", "smoke_alarm"]), announced=st.booleans())
    def make(self, label: str, announced: bool) -> None:
        self.made += 1
        self.rows.kept.append(row(self.made, label))
        if announced:
            self.delivery.made(self.made, self.now)

    @rule()
    def send(self) -> None:
        batch = self.delivery.next(self.rows.waiting, self.now)
        if batch is not None:
            assert batch.late or len(batch.rows) == 1
            assert all(seqs.isdisjoint(batch.seqs) for _, seqs in self.flying)
            self.flying.append((self.now, set(batch.seqs)))

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        _, seqs = data.draw(st.sampled_from(self.flying))
        answered = data.draw(st.sets(st.sampled_from(sorted(seqs))))
        self.delivery.answered(answered)
        self.rows.kept = [one for one in self.rows.kept if one.seq not in answered]
        seqs -= answered
        self.flying = [(at, left) for at, left in self.flying if left]

    @rule(seconds=st.sampled_from([0.1, 5.0, 16.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        refused = self.delivery.overdue(self.now)
        over = [seqs for at, seqs in self.flying if self.now - at >= RESEND_SECONDS]
        assert set(refused) <= {seq for seqs in over for seq in seqs}
        self.flying = [(at, seqs) for at, seqs in self.flying if seqs not in over]

    @rule()
    def reconnect(self) -> None:
        self.delivery.connected(self.made)
        self.flying = []

    @invariant()
    def the_window_is_kept(self) -> None:
        assert len(self.flying) <= WINDOW

    def teardown(self) -> None:
        self.delivery.connected(self.made)
        for _ in range(self.made + 1):
            batch = self.delivery.next(self.rows.waiting, self.now)
            if batch is None:
                break
            self.delivery.answered(batch.seqs)
            self.rows.kept = [one for one in self.rows.kept if one.seq not in batch.seqs]
        assert self.rows.kept == []


TestAnyWeather = AnyWeather.TestCase
TestAnyWeather.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
