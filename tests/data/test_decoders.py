"""Who decodes: one thread at a time while images are quick, all of them where they are not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from zoo.data.threads import Decoders

IMAGES = np.arange(200)


class Work:
    """Notes what is worked on, by whom, and how many at once."""

    def __init__(self, *, busy=0.0, asleep=0.0):
        self.busy, self.asleep = busy, asleep
        self.done, self.threads = [], set()
        self.now, self.most, self._lock = 0, 0, threading.Lock()

    def __call__(self, block):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        end = time.thread_time() + self.busy * len(block)
        while time.thread_time() < end:
            pass
        time.sleep(self.asleep * len(block))
        with self._lock:
            self.now -= 1
            self.done.extend(block.tolist())
            self.threads.add(threading.current_thread().name)


def test_quick_images_are_decoded_by_the_caller():
    work, decoders = Work(), Decoders(4)
    decoders.run(work, IMAGES)
    assert work.done == list(range(200))  # in order, too
    assert work.threads == {threading.current_thread().name}


def test_callers_with_quick_images_wait_for_each_other():
    work, decoders = Work(busy=20e-6), Decoders(4)
    with ThreadPoolExecutor(3) as callers:
        list(callers.map(lambda _: decoders.run(work, IMAGES), range(12)))
    assert sorted(work.done) == sorted(list(range(200)) * 12)
    assert work.most == 1


@pytest.mark.parametrize(
    ("slow", "alone"),
    [({"busy": 300e-6}, 72), ({"busy": 900e-6}, 8), ({"asleep": 4e-3}, 8)],
    ids=["a little", "much", "a far disk"],
)
def test_slow_images_are_decoded_by_threads(slow, alone):
    decoders, mine = Decoders(2), threading.current_thread().name
    for _ in range(2):
        work = Work(**slow)
        decoders.run(work, IMAGES)
        assert sorted(work.done) == list(range(200))
        assert work.done[:alone] == list(range(alone))
        assert mine in work.threads
        assert any(name.startswith("zoo-decode") for name in work.threads)
    work = Work(**slow)
    decoders.run(work, IMAGES)  # known by now
    assert mine not in work.threads
    assert sorted(work.done) == list(range(200))


def test_slow_images_that_are_there_in_time_are_decoded_by_one_thread():
    decoders, mine = Decoders(2), threading.current_thread().name

    def threads(work):
        decoders.run(work, IMAGES)
        assert sorted(work.done) == list(range(200))
        return work.threads

    for _ in range(2):
        assert threads(Work(busy=300e-6)) > {mine}
    decoders.asked(True)
    assert threads(Work(busy=300e-6)) == {mine}
    decoders.asked(False)  # too late: the next time two must be in time
    assert mine not in threads(Work(busy=300e-6))
    decoders.asked(True)
    assert mine not in threads(Work(busy=300e-6))
    decoders.asked(True)
    assert threads(Work(busy=300e-6)) == {mine}
    decoders.begin()
    assert mine not in threads(Work(busy=300e-6))


def test_who_waits_while_one_thread_decodes_is_heard():
    decoders, mine = Decoders(2), threading.current_thread().name
    decoders.asked(True)
    work = Work(busy=300e-6)

    def asked_for_meanwhile(block):
        if len(work.done) > 100:
            decoders.asked(False)
        work(block)

    decoders.run(asked_for_meanwhile, IMAGES)
    assert sorted(work.done) == list(range(200))
    assert work.threads > {mine}
    assert work.done[:100] == list(range(100))


def test_a_few_slow_images_are_no_proof():
    decoders, mine = Decoders(2), threading.current_thread().name
    for _ in range(4):
        decoders.run(Work(busy=300e-6), IMAGES[:2])
    work = Work()
    decoders.run(work, IMAGES)
    assert work.threads == {mine}


def test_a_batch_that_was_held_up_is_no_proof():
    decoders, mine = Decoders(2), threading.current_thread().name
    for _ in range(3):
        decoders.run(Work(asleep=4e-3), IMAGES)
        work = Work()
        decoders.run(work, IMAGES)
        assert work.threads == {mine}


@pytest.mark.parametrize("num_threads", [0, 1])
def test_one_thread_is_the_callers(num_threads):
    work = Work(asleep=2e-3)
    Decoders(num_threads).run(work, IMAGES)
    assert work.threads == {threading.current_thread().name}
    assert work.done == list(range(200))


def test_an_error_reaches_the_caller_and_the_next_call_works():
    def broken(block):
        raise ValueError("no image")

    decoders = Decoders(2)
    for _ in range(2):
        with pytest.raises(ValueError, match="no image"):
            decoders.run(broken, IMAGES)
    work = Work()
    decoders.run(work, IMAGES)
    assert sorted(work.done) == list(range(200))


def test_nothing_is_nothing():
    Decoders(2).run(Work(), IMAGES[:0])
