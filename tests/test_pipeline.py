"""The pipeline: batches keep their images however threads race, memory is bounded, faults and stops end in order.

Expected values are written down by hand: image k is prepared as the number k, so a batch tells what is in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from matnet.errors import DataError, EngineError
from matnet.evaluation.pipeline import Done, Pipeline, ThreadCounts
from matnet.evaluation.tally import batches_left, joined

LIMIT = 20  # seconds after which a test that hangs is ended


def within_limit(work: Callable[[], object]) -> None:
    """Run `work` in a thread of its own, so that a pipeline that hangs fails the test and nothing more."""
    raised: list[Exception] = []

    def guarded() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "the pipeline hangs"
    if raised:
        raise raised[0]


def memory(count: int, batch: int = 4) -> list[np.ndarray]:
    return [np.full((batch, 1, 2, 3), -1, np.float32) for _ in range(count)]


def fill(number: int, place: np.ndarray) -> None:
    place[...] = number


def contents(batch: np.ndarray, span: range, good: list[int]) -> list[float]:
    """What the good rows hold; all pixels of a row must be the same."""
    rows = batch.reshape(len(batch), -1)
    assert all((row == row[0]).all() for row in rows[good])
    return rows[good, 0].tolist()


def collect(pipeline: Pipeline, spans: list[range]) -> list[Done]:
    return sorted(pipeline.run(spans), key=lambda done: done.span.start)


@pytest.mark.parametrize("slots", [1, 2, 5])
@pytest.mark.parametrize(
    "counts",
    [ThreadCounts(1, 1, 1), ThreadCounts(2, 2, 1), ThreadCounts(2, 1, 2), ThreadCounts(5, 3, 2), ThreadCounts(3, 8, 8)],
)
def test_every_image_is_in_its_batch_once(counts: ThreadCounts, slots: int) -> None:
    def work() -> None:
        done = collect(Pipeline(fill, contents, memory(slots), counts), batches_left(22, 4))
        assert [batch.value for batch in done] == [[4 * k + j for j in range(4) if 4 * k + j < 22] for k in range(6)]

    within_limit(work)


def test_no_batches_at_all() -> None:
    within_limit(
        lambda: np.testing.assert_equal(collect(Pipeline(fill, contents, memory(1), ThreadCounts(2, 2, 1)), []), [])
    )


def test_racing_threads_change_nothing() -> None:
    """Images that take times of their own, threads that are given little time: the same batches each time."""
    random = np.random.default_rng(3)
    delays = random.uniform(0, 2e-3, 50)

    def slow(number: int, place: np.ndarray) -> None:
        time.sleep(delays[number])
        place[...] = number

    def work() -> None:
        for counts in (ThreadCounts(2, 2, 2), ThreadCounts(8, 8, 3)):
            done = collect(Pipeline(slow, contents, memory(4, 3), counts), batches_left(50, 3))
            assert [value for batch in done for value in batch.value] == list(range(50))

    within_limit(work)


def test_a_slow_image_holds_up_its_own_batch_alone() -> None:
    """Image 1 is not there before every other batch is done: that would hang if anything waited for it."""
    others_done = threading.Event()

    def prepare(number: int, place: np.ndarray) -> None:
        if number == 1:
            assert others_done.wait(LIMIT)
        place[...] = number

    def work() -> None:
        order = []
        for done in Pipeline(prepare, contents, memory(2), ThreadCounts(3, 2, 1)).run(batches_left(20, 4)):
            order.append(done.span.start)
            if len(order) == 4:
                others_done.set()
        assert order == [4, 8, 12, 16, 0]

    within_limit(work)


def test_the_computation_is_bounded() -> None:
    """No more computations at a time than streams, no more decoders than asked for."""
    lock, now, most = threading.Lock(), {"decode": 0, "compute": 0}, {"decode": 0, "compute": 0}

    def busy(what: str) -> None:
        with lock:
            now[what] += 1
            most[what] = max(most[what], now[what])
        time.sleep(1e-3)
        with lock:
            now[what] -= 1

    def prepare(number: int, place: np.ndarray) -> None:
        busy("decode")

    def compute(batch: np.ndarray, span: range, good: list[int]) -> None:
        busy("compute")

    within_limit(lambda: collect(Pipeline(prepare, compute, memory(6), ThreadCounts(8, 3, 2)), batches_left(60, 2)))
    assert most["decode"] <= 3
    assert most["compute"] <= 2


def test_images_that_cannot_be_read_are_told_and_their_rows_are_zero() -> None:
    seen = {}

    def prepare(number: int, place: np.ndarray) -> None:
        place[...] = number
        if number in (2, 3, 4, 5, 6, 7, 9):
            raise DataError(f"image {number} is cut")

    def compute(batch: np.ndarray, span: range, good: list[int]) -> list[int]:
        seen[span.start] = batch[: len(span), 0, 0, 0].tolist()
        return good

    def work() -> None:
        done = collect(Pipeline(prepare, compute, memory(2), ThreadCounts(3, 3, 1)), batches_left(11, 4))
        assert [batch.value for batch in done] == [[0, 1], None, [0, 2]]
        assert [list(batch.faults) for batch in done] == [[2, 3], [4, 5, 6, 7], [9]]
        assert done[2].faults[9] == "image 9 is cut"
        assert seen == {0: [0, 1, 0, 0], 8: [8, 0, 10]}

    within_limit(work)


@pytest.mark.parametrize("where", ["prepare", "compute"])
def test_an_error_ends_the_run_and_its_threads(where: str) -> None:
    def prepare(number: int, place: np.ndarray) -> None:
        if where == "prepare" and number == 5:
            raise EngineError("broken")

    def compute(batch: np.ndarray, span: range, good: list[int]) -> None:
        if where == "compute" and span.start == 4:
            raise EngineError("broken")

    def work() -> None:
        with pytest.raises(EngineError, match="broken"):
            collect(Pipeline(prepare, compute, memory(2), ThreadCounts(3, 2, 1)), batches_left(100, 4))

    before = set(threading.enumerate())
    within_limit(work)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("matnet")]


def test_ctrl_c_does_not_wait_for_a_batch() -> None:
    released = threading.Event()

    def compute(batch: np.ndarray, span: range, good: list[int]) -> bool:
        return span.start == 0 or released.wait(LIMIT)

    def interrupted() -> None:
        running = Pipeline(fill, compute, memory(2), ThreadCounts(2, 2, 2)).run([range(4), range(4, 8)])
        assert next(running).span == range(4)
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
        assert not released.is_set()
        released.set()

    within_limit(interrupted)


def test_leaving_early_ends_the_threads() -> None:
    prepared = []

    def prepare(number: int, place: np.ndarray) -> None:
        prepared.append(number)

    def work() -> None:
        batches = Pipeline(prepare, contents, memory(2), ThreadCounts(3, 2, 1)).run(batches_left(4000, 4))
        next(batches)
        batches.close()

    before = set(threading.enumerate())
    within_limit(work)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("matnet")]
    assert len(prepared) < 4000


@pytest.mark.parametrize(
    ("count", "batch", "done", "expected"),
    [
        (0, 4, (), []),
        (3, 4, (), [(0, 3)]),
        (9, 4, (), [(0, 4), (4, 8), (8, 9)]),
        (9, 4, ((0, 4), (8, 9)), [(4, 8)]),
        (9, 4, ((2, 5),), [(0, 2), (5, 8), (8, 9)]),
        (9, 4, ((0, 9),), []),
        (6, 4, ((4, 8),), [(0, 4)]),
    ],
)
def test_batches_left(
    count: int, batch: int, done: tuple[tuple[int, int], ...], expected: list[tuple[int, int]]
) -> None:
    assert [(span.start, span.stop) for span in batches_left(count, batch, done)] == expected


def test_an_image_cannot_count_twice() -> None:
    with pytest.raises(DataError, match="images 3 to 4 were counted twice"):
        joined([(0, 5), (3, 8)])
