"""A session runs code, reports its results and errors, calls tools, and can be forked."""

from __future__ import annotations

import asyncio

import pytest

from rollout.tools.sandbox.config import Tier
from rollout.tools.sandbox.errors import SandboxError, ToolError
from rollout.tools.sandbox.sandbox import Sandbox
from rollout.tools.sandbox.session import Session

UNSTOPPABLE = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass"


def test_variables_persist_between_calls(session: Session) -> None:
    assert session.run("a = 20\ndef twice(x): return 2 * x").value is None
    assert session.run("twice(a) + 2").value == "42"


def test_prints_the_last_value_and_nothing_for_none(session: Session) -> None:
    result = session.run("import sys\nprint('one')\nprint('two', file=sys.stderr)\n'three'")
    assert (result.stdout, result.value, result.error) == ("one\ntwo\n", "'three'", None)
    assert session.run("None").value is None


def test_numpy_and_sympy_are_available(session: Session) -> None:
    result = session.run("import numpy, sympy\nprint(numpy.arange(3).sum())\nsympy.factor('x**2 - 1')")
    assert (result.stdout, result.value) == ("3\n", "(x - 1)*(x + 1)")


def test_an_error_names_the_statement_and_keeps_what_was_printed(session: Session) -> None:
    result = session.run("print('before')\ndef f():\n    return 1 / 0\nx = 1; f()\nprint('after')")
    assert result.stdout == "before\n"
    assert result.error == "Code execution failed at line 'f()' due to: ZeroDivisionError: division by zero"
    assert session.run("x").value == "1"


def test_code_that_does_not_parse_is_shown_with_a_caret(session: Session) -> None:
    error = session.run("ok = 1\na b").error
    assert error is not None
    assert error.splitlines()[:3] == ["Code parsing failed on line 2 due to: SyntaxError", "a b", "  ^"]
    assert "NameError" in str(session.run("ok").error)


@pytest.mark.parametrize("code", ["return 1", "a\x00b", "'\\ud800'\nx ="])
def test_invalid_code_returns_an_error_and_raises_no_exception(session: Session, code: str) -> None:
    assert session.run(code).error


def test_final_answer_ends_the_code(session: Session) -> None:
    result = session.run("x = 1\nfinal_answer(x + 1)\nx = 5")
    assert (result.final_answer, result.error) == ("2", None)
    assert session.run("x").value == "1"


def test_long_texts_are_truncated_and_listed(session: Session) -> None:
    result = session.run("print('x' * 5000)\n'y' * 5000")
    assert (len(result.stdout), len(result.value or "")) == (1000, 1000)
    assert result.cut == {"stdout", "value"}


def test_the_time_limit_ends_the_code_but_keeps_the_variables(session: Session) -> None:
    session.run("kept = 7")
    result = session.run("import time\nprint('begun')\ntime.sleep(60)", time_limit_s=2)
    assert result.timed_out
    assert not result.lost
    assert result.stdout == "begun\n"
    assert result.error == "Code execution failed due to: TimeoutError: the code ran longer than 2 s"
    assert session.run("kept").value == "7"


def test_code_that_cannot_be_interrupted_loses_its_interpreter_and_the_next_starts_a_fresh_one(
    session: Session,
) -> None:
    session.run("kept = 7")
    result = session.run(UNSTOPPABLE, time_limit_s=0.3)
    assert (result.timed_out, result.lost) == (True, True)
    assert result.error is not None
    assert result.error.endswith("all variables are gone")
    again = session.run("'kept' in globals()")
    assert (again.value, again.lost) == ("False", False)


def test_a_crash_is_a_result(session: Session) -> None:
    result = session.run("import os\nos._exit(3)")
    assert result.lost
    assert "it ended without a result" in str(result.error)
    assert session.run("1 + 1").value == "2"


def test_too_much_memory_is_an_error_of_the_code(session: Session) -> None:
    result = session.run("hoard = bytearray(400 << 20)")
    assert "MemoryError" in str(result.error)
    assert session.run("1").value == "1"


def test_the_scratch_folder_is_writable_and_limited_in_size(session: Session) -> None:
    assert (
        session.run("import shutil\nopen('a', 'w').write('hi')\nshutil.copy('a', 'b')\nopen('b').read()").value
        == "'hi'"
    )
    result = session.run("import os\nfor n in range(80): open(f'f{n}', 'wb').write(os.urandom(1 << 20))")
    assert "No space left" in str(result.error) or "File too large" in str(result.error)


def test_code_longer_than_the_limit_is_not_run(session: Session) -> None:
    assert "longer than 100000 characters" in str(session.run("x = 1\n" * 20000).error)


def test_a_copy_continues_from_the_same_state_without_changing_the_original(sandbox: Sandbox) -> None:
    with sandbox.session() as session:
        session.run("n = [1]\nopen('note', 'w').write('old')")
        with session.fork() as first, session.fork() as second:
            assert first.run("n.append(2); open('note', 'w').write('new'); n").value == "[1, 2]"
            assert second.run("n, open('note').read()").value == "([1], 'old')"
            assert session.run("n, open('note').read()").value == "([1], 'old')"


def test_files_of_copies_that_have_ended_are_deleted(sandbox: Sandbox) -> None:
    with sandbox.session() as session:
        session.run("open('note', 'w').write('x' * 2**20)")
        for _ in range(3):
            with session.fork() as copy, copy.fork():
                pass
        with session.fork() as last:
            assert (
                last.run("import os; len([name for name in os.listdir('..') if name.startswith('copy')])").value == "1"
            )


def test_a_copy_may_have_other_tools_than_the_original(sandbox: Sandbox) -> None:
    with sandbox.session({"who": lambda: "first"}) as session:
        session.run("asked = who")
        with session.fork({"who": lambda: "second"}) as copy:
            assert copy.run("who(), asked()").value == "('second', 'second')"
        assert session.run("who()").value == "'first'"


def test_a_copy_outlives_the_original_and_can_be_copied(sandbox: Sandbox) -> None:
    with sandbox.session() as session:
        session.run("n = 1")
        winner = session.fork()
    with winner:
        assert winner.run("n += 1; n").value == "2"
        with winner.fork() as next_winner:
            assert next_winner.run("n += 1; n").value == "3"
        assert winner.run("n").value == "2"


def test_a_copy_that_dies_affects_neither_the_original_nor_its_siblings(sandbox: Sandbox) -> None:
    with sandbox.session() as session:
        session.run("n = 1")
        with session.fork() as dying, session.fork() as other:
            assert dying.run(UNSTOPPABLE, time_limit_s=0.2).lost
            assert other.run("n").value == "1"
        assert session.run("n").value == "1"


def copy_endlessly(session: Session, copies: list[Session]) -> None:
    while True:
        copies.append(session.fork())


def test_the_number_of_copies_is_limited_by_the_process_limit(sandbox: Sandbox) -> None:
    copies: list[Session] = []
    with sandbox.session() as session:
        if sandbox.tier is Tier.RLIMITS:
            pytest.skip("the tier rlimits does not bound copies")
        with pytest.raises(SandboxError, match="cannot be copied"):
            copy_endlessly(session, copies)
        for copy in copies:
            copy.close()
    assert len(copies) == sandbox.config.max_processes - 1


def test_functions_of_the_worker_can_be_called(sandbox: Sandbox) -> None:
    def search(query: str, k: int = 1) -> list[str]:
        return [query.upper()] * k

    with sandbox.session({"search": search}) as session:
        result = session.run("hits = search('cat', k=2)\nprint(hits)\nsearch = None")
        assert (result.stdout, result.tool_calls) == ("['CAT', 'CAT']\n", 1)
        assert session.run("search('dog')").value == "['DOG']"


def test_a_tool_error_is_raised_in_the_code(sandbox: Sandbox) -> None:
    def lookup(word: str) -> str:
        raise ToolError(f"no page has {word}")

    with sandbox.session({"lookup": lookup}) as session:
        assert "RuntimeError: no page has cat" in str(session.run("lookup('cat')").error)
        assert "missing a required argument: 'word'" in str(session.run("lookup()").error)
        assert "TypeError" in str(session.run("lookup(object())").error)


def test_a_bug_in_a_tool_propagates_and_the_session_continues(sandbox: Sandbox) -> None:
    def broken() -> str:
        raise KeyError("ours")

    with sandbox.session({"broken": broken}) as session:
        with pytest.raises(KeyError, match="ours"):
            session.run("broken()")
        assert session.run("1 + 1").value == "2"


def test_calls_and_their_size_are_limited(sandbox: Sandbox) -> None:
    with sandbox.session({"echo": lambda text: text}) as session:
        result = session.run("for _ in range(9): echo('x')")
        assert "no more than 5 calls" in str(result.error)
        assert "longer than 1000 characters" in str(session.run("echo('x' * 3000)").error)


def test_time_spent_in_a_tool_does_not_count_against_the_time_limit(sandbox: Sandbox) -> None:
    import time

    def slow() -> str:
        time.sleep(2.5)
        return "done"

    with sandbox.session({"slow": slow}) as session:
        result = session.run("slow()", time_limit_s=1.0)
        assert (result.value, result.timed_out) == ("'done'", False)


def test_coroutine_functions_work_without_a_loop(sandbox: Sandbox) -> None:
    async def search(query: str) -> str:
        await asyncio.sleep(0)
        return f"found {query}"

    with sandbox.session({"search": search}) as session:
        assert session.run("search('cat')").value == "'found cat'"


def test_episodes_do_not_see_each_other(sandbox: Sandbox) -> None:
    with sandbox.session() as first, sandbox.session() as second:
        first.run("import sympy\nsympy.pi = 3\nx = 1\nopen('mark', 'w').write('x')")
        assert (
            second.run("import os, sympy\n'x' in globals(), sympy.pi == 3, os.listdir()").value == "(False, False, [])"
        )


@pytest.mark.parametrize("message", ["b''", "bytes(4) + b'junk'", "b'[' * 5000"])
def test_an_interpreter_that_sends_invalid_data_when_forked_is_refused(session: Session, message: str) -> None:
    session.run(
        "import os\nfrom rollout.tools.sandbox.inside import libc\n"
        "def lie(*_):\n"
        "    for number in range(4, 10):\n"
        f"        try: os.write(number, {message})\n"
        "        except OSError: pass\n"
        "    return 1\n"
        "libc.raw_clone = lie"
    )
    with pytest.raises(SandboxError, match="cannot be copied"):
        session.fork()
