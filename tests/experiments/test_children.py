"""A copy of a process: it works with what is loaded and ends with its input."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="no copies are made there")

BEGIN = """
import atexit, os, signal, sys, threading, time
from zoo.experiments.children import Child, may_be_copied, signals_held

loaded = {"number": 41}

def answer():
    for line in sys.stdin:
        os.write(1, f"{line.strip()} {loaded['number']} {os.getpid()}\\n".encode())

def told(child, text):
    child.stdin.write(text + "\\n")
    child.stdin.flush()
    return child.stdout.readline().split()

"""


def done(code):
    return subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code)], capture_output=True, text=True,
        check=False, timeout=60, start_new_session=True,
    )  # fmt: skip


def printed(code):
    made = done(code)
    assert (made.returncode, made.stderr) == (0, "")
    return made.stdout


def test_a_copy_has_what_was_loaded_and_ends_with_its_input():
    out = printed("""
        atexit.register(print, "at the end")
        print("once", end="; ")  # not yet written when the copies are made
        loaded["number"] += 1
        one = Child.copy(answer, beside=[])
        two = Child.copy(answer, beside=[one])
        loaded["number"] = 0
        words = [told(child, "hello") for child in (one, two)]
        assert [word[:2] for word in words] == [["hello", "42"]] * 2
        assert len({os.getpid(), *(int(word[2]) for word in words)}) == 3
        try:
            one.wait(0.05)
        except TimeoutError:
            print("still there", end="; ")
        one.stdin.close()  # which the second one must not hold open
        print(one.wait(30), told(two, "on")[:2], end="; ")
        two.kill()
        print(two.wait(None), flush=True)
    """)
    assert out == "once; still there; 0 ['on', '42']; -9\nat the end\n"


def test_a_copy_ends_when_this_process_is_killed():
    made = done("""
        child = Child.copy(answer, beside=[])
        print(told(child, "x")[2], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    # Its standard error is that of the copy, too: `run` has come to its end, so has the copy.
    assert (made.returncode, made.stderr) == (-9, "")
    assert int(made.stdout) > 0


def test_a_copy_does_what_it_registered_for_its_end_and_no_handler_of_ours():
    out = printed("""
        signal.signal(signal.SIGTERM, lambda *told: print("ours"))
        atexit.register(print, "at the end")
        def work():
            atexit.register(os.write, 1, b"its own\\n")
            if sys.stdin.readline() == "wait\\n":
                os.write(1, f"{os.getpid()}\\n".encode())
                time.sleep(60)
        one, two = Child.copy(work, beside=[]), Child.copy(work, beside=[])
        print(told(one, "go"), one.wait(30))
        os.kill(int(told(two, "wait")[0]), signal.SIGTERM)
        print(two.wait(30))
    """)
    assert out == "['its', 'own'] 0\n-15\nat the end\n"


def test_a_signal_at_the_moment_of_copying_is_for_this_process_alone():
    out = printed("""
        def stop(number, frame):
            raise KeyboardInterrupt
        signal.signal(signal.SIGINT, stop)
        def work():
            os.write(1, f"{signal.getsignal(signal.SIGINT).__name__}\\n".encode())
            answer()
        try:
            with signals_held():
                os.kill(os.getpid(), signal.SIGINT)
                child = Child.copy(work, beside=[])
                os.killpg(0, signal.SIGINT)  # as a terminal does
        except KeyboardInterrupt:
            print("stopped", end=" ")
        print(child.stdout.readline().strip(), told(child, "x")[:2], end=" ")
        child.stdin.close()
        print(child.wait(30))
    """)
    assert out == "stopped default_int_handler ['x', '41'] 0\n"


def test_a_process_without_standard_input_and_output_can_be_copied():
    out = printed("""
        kept = os.dup(1)
        os.close(0), os.close(1)
        child = Child.copy(answer, beside=[])
        os.write(kept, f"{told(child, 'x')[:2]}\\n".encode())
        child.stdin.close()
        assert child.wait(30) == 0
        os.dup2(kept, 1)
    """)
    assert out == "['x', '41']\n"


def test_what_goes_wrong_in_a_copy_is_shown():
    made = done("""
        child = Child.copy(lambda: 1 / 0, beside=[])
        print(repr(child.stdout.read()), child.wait(30))
    """)
    assert (made.returncode, made.stdout) == (0, "'' 1\n")
    assert "ZeroDivisionError" in made.stderr


@pytest.mark.parametrize(
    "started",
    [
        "threading.Thread(target=time.sleep, args=(1,)).start()",
        # One that Python knows nothing of, as a library has them.
        "import torch; a = torch.ones(999, 999); torch.set_num_threads(2); a @ a",
    ],
    ids=["thread", "torch"],
)
def test_beside_other_threads_nothing_is_copied(started):
    out = printed(f"""
        print(may_be_copied(), end=" ")
        {started}
        print(may_be_copied(), Child.copy(answer, beside=[]))
    """)
    assert out == "True False None\n"


def test_torch_computes_in_a_copy_that_was_made_before_it_did_here():
    out = printed("""
        import torch
        from zoo.engine.device import compute_threads
        from zoo.config import RunConfig

        def both():
            a = torch.linspace(0, 1, 600 * 600).view(600, 600).requires_grad_()
            (a @ a).square().mean().backward()
            return float(a.grad.norm())

        with compute_threads(RunConfig(threads=1)):
            both()  # alone, a thread needs no others
        def work():
            torch.set_num_threads(2)
            os.write(1, f"{both()}\\n".encode())
        torch.set_num_threads(2)
        child = Child.copy(work, beside=[])
        print(child.stdout.readline() == f"{both()}\\n", child.wait(30))
    """)
    assert out == "True 0\n"
