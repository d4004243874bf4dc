"""Who decodes: one thread at a time while images are quick, all of them where they are not."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from zoo.data.threads import Decoders

BLOCKS = [range(8), range(8, 16), range(16, 24), range(24, 32)]


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
            self.done.extend(block)
            self.threads.add(threading.current_thread().name)


def test_quick_images_are_decoded_by_the_caller():
    work, decoders = Work(), Decoders(4)
    decoders.run(work, BLOCKS)
    assert work.done == list(range(32))  # in order, too
    assert work.threads == {threading.current_thread().name}


def test_callers_with_quick_images_wait_for_each_other():
    work, decoders = Work(busy=20e-6), Decoders(4)
    with ThreadPoolExecutor(3) as callers:
        list(callers.map(lambda _: decoders.run(work, BLOCKS), range(12)))
    assert sorted(work.done) == sorted(list(range(32)) * 12)
    assert work.most == 1


@pytest.mark.parametrize("slow", [{"busy": 400e-6}, {"asleep": 3e-3}], ids=["cpu", "disk"])
def test_slow_images_are_decoded_by_threads_after_the_first_block(slow):
    work, decoders = Work(**slow), Decoders(2)
    decoders.run(work, BLOCKS)
    assert sorted(work.done) == list(range(32))
    assert threading.current_thread().name in work.threads
    assert any(name.startswith("zoo-decode") for name in work.threads)
    second = Work(**slow)
    decoders.run(second, BLOCKS)  # known by now
    assert threading.current_thread().name not in second.threads
    assert sorted(second.done) == list(range(32))


def test_what_was_slow_once_is_looked_at_again():
    decoders = Decoders(2)
    decoders.run(Work(asleep=3e-3), BLOCKS)
    alone = 0
    for _ in range(40):
        work = Work()
        decoders.run(work, BLOCKS)
        alone += work.threads == {threading.current_thread().name}
    assert 20 <= alone < 40  # from the sixteenth on


@pytest.mark.parametrize("num_threads", [0, 1])
def test_one_thread_is_the_callers(num_threads):
    work = Work(asleep=2e-3)
    Decoders(num_threads).run(work, BLOCKS)
    assert work.threads == {threading.current_thread().name}
    assert work.done == list(range(32))


def test_an_error_reaches_the_caller_and_the_next_call_works():
    def broken(block):
        raise ValueError("no image")

    decoders = Decoders(2)
    for _ in range(2):
        with pytest.raises(ValueError, match="no image"):
            decoders.run(broken, BLOCKS)
    work = Work()
    decoders.run(work, BLOCKS)
    assert sorted(work.done) == list(range(32))


def test_nothing_is_nothing():
    Decoders(2).run(Work(), [])
