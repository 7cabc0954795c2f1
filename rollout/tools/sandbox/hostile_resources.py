"""Hostile programs that exhaust time, memory, processes and output, or damage their own interpreter."""

from __future__ import annotations

from rollout.tools.sandbox.hostile import Aim, Attack

_SOON_S = 0.3

RESOURCE_ATTACKS = (
    Attack("endless loop", Aim.TIME, "while True: pass", limit_s=_SOON_S),
    Attack(
        "endless loop that swallows every exception",
        Aim.TIME,
        "def loop():\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\nloop()",
        limit_s=_SOON_S,
    ),
    Attack("endless loop in C", Aim.TIME, "import itertools\nsum(itertools.repeat(0))", limit_s=_SOON_S),
    Attack("a power with a hundred million digits", Aim.TIME, "10**10**8", limit_s=_SOON_S),
    Attack("endless sleep", Aim.TIME, "import time\ntime.sleep(10**6)", limit_s=_SOON_S),
    Attack(
        "catastrophic regular expression", Aim.TIME, "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", limit_s=_SOON_S
    ),
    Attack(
        "last value whose repr never ends",
        Aim.TIME,
        "class Endless:\n    def __repr__(self):\n        while True: pass\nEndless()",
        limit_s=_SOON_S,
    ),
    Attack(
        "final answer whose text never ends",
        Aim.TIME,
        "class Endless:\n    def __str__(self):\n        while True: pass\nfinal_answer(Endless())",
        limit_s=_SOON_S,
    ),
    Attack(
        "disabling the timer, then an endless loop",
        Aim.TIME,
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        limit_s=_SOON_S,
    ),
    Attack(
        "deadlock",
        Aim.TIME,
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        limit_s=_SOON_S,
    ),
    Attack(
        "threads that continue after the code has ended",
        Aim.TIME,
        "import threading\ndef spin():\n    while True: pass\nfor _ in range(3): threading.Thread(target=spin).start()",
        follow_up="1 + 1",
        limit_s=_SOON_S,
    ),
    Attack(
        "profile function that traps the driver after the code",
        Aim.TIME,
        "import sys\ndef trap(*_):\n    while True: pass\nsys.setprofile(trap)",
        limit_s=_SOON_S,
    ),
    Attack(
        "memory bomb",
        Aim.MEMORY,
        "hoard = []\nfor _ in range(3000): hoard.append(bytearray(1 << 20))\nprint('ESCAPED')",
    ),
    Attack("one object of gigabytes", Aim.MEMORY, "attempt(bytearray, 3 << 30)"),
    Attack("gigabytes of shared memory", Aim.MEMORY, "import mmap\nattempt(mmap.mmap, -1, 3 << 30)"),
    Attack("numpy array of gigabytes", Aim.MEMORY, "import numpy\nattempt(numpy.empty, 3 << 27)"),
    Attack(
        "unbounded recursion",
        Aim.MEMORY,
        "import sys\nsys.setrecursionlimit(10**9)\ndef deeper(): return [deeper()]\ndeeper()",
        limit_s=1.0,
    ),
    Attack(
        "recursion through C",
        Aim.MEMORY,
        "sys.setrecursionlimit(10**9)\ndef deeper(_): return list(map(deeper, [0]))\ndeeper(0)",
        limit_s=1.0,
    ),
    Attack("nesting that breaks the parser", Aim.MEMORY, "eval('(' * 10**5 + ')' * 10**5)\neval('-' * 10**6 + '1')"),
    Attack(
        "memory that process limits do not count",
        Aim.MEMORY,
        "for name in ('memfd_create', 'memfd_secret', 'shmget', 'msgget', 'semget', 'mq_open', 'io_uring_setup'):\n"
        "    kernel(name)",
    ),
    Attack(
        "filling the disk",
        Aim.MEMORY,
        "for number in range(100):\n    with open(f'block{number}', 'wb') as file: file.write(bytes(1 << 20))\n"
        "print('ESCAPED')",
    ),
    Attack(
        "filling the disk with empty files",
        Aim.MEMORY,
        "for number in range(10000): open(f'name{number}', 'w').close()\nprint('ESCAPED')",
        limit_s=30.0,
    ),
    Attack("dumping core", Aim.MEMORY, "os.abort()"),
    Attack(
        "fork bomb",
        Aim.PROCESSES,
        "import time\nfor _ in range(100):\n    try: child = os.fork()\n    except OSError: continue\n"
        "    if child == 0:\n        time.sleep(3)\n        os._exit(0)\n    print('ESCAPED')",
    ),
    Attack(
        "fork bomb through C",
        Aim.PROCESSES,
        "libc = ctypes.CDLL(None)\nfor call in (libc.fork, libc.vfork):\n    child = call()\n"
        "    if child == 0: os._exit(0)\n    if child > 0: print('ESCAPED')",
    ),
    Attack(
        "fork bomb with the driver's own permit",
        Aim.PROCESSES,
        "import gc, time\nfrom rollout.tools.sandbox.inside import libc, seccomp\n"
        "from rollout.tools.sandbox.inside.interpreter import Interpreter\n"
        "(driver,) = [thing for thing in gc.get_objects() if type(thing) is Interpreter]\nmade = 0\n"
        "for _ in range(100):\n    try: child = libc.raw_clone(seccomp.FORK_FLAGS, driver.permit)\n"
        "    except OSError: break\n"
        "    if child == 0:\n        time.sleep(3)\n        os._exit(0)\n    made += 1\n"
        "if made > 40: print('ESCAPED', made)",
    ),
    Attack(
        "thread bomb",
        Aim.PROCESSES,
        "import threading, time\nthreading.stack_size(1 << 16)\n"
        "for _ in range(1000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('ESCAPED')",
        limit_s=30.0,
    ),
    Attack("a shell", Aim.PROCESSES, "import subprocess\nattempt(subprocess.run, ['/bin/sh', '-c', 'id'])"),
    Attack("a shell through C", Aim.PROCESSES, "if os.system('exit 0') == 0: print('ESCAPED')"),
    Attack(
        "executing another program",
        Aim.PROCESSES,
        "attempt(os.execv, sys.executable, ['python', '-c', 'print(1)'])\nkernel('execve')\nkernel('execveat')",
    ),
    Attack(
        "multiprocessing",
        Aim.PROCESSES,
        "import multiprocessing\nprocess = multiprocessing.get_context('fork').Process(target=print)\n"
        "attempt(process.start)",
    ),
    Attack("output flood", Aim.OUTPUT, "while True: print('x' * 10**6)", limit_s=_SOON_S),
    Attack("one print of twenty megabytes", Aim.OUTPUT, "print('x' * (2 * 10**7))\nsys.stderr.write('y' * 10**7)"),
    Attack("huge last value", Aim.OUTPUT, "'x' * (2 * 10**7)"),
    Attack("huge error", Aim.OUTPUT, "raise ValueError('x' * (2 * 10**7))"),
    Attack("huge final answer", Aim.OUTPUT, "final_answer('x' * (2 * 10**7))"),
    Attack("text that is not valid Unicode", Aim.OUTPUT, "print('\\ud800' * 100, '\\x00\\x1b[2J')\n'\\udfff'"),
    Attack(
        "exceptions that cannot be printed",
        Aim.INTERPRETER,
        "class Evil(BaseException):\n    def __str__(self): raise Evil\n    __repr__ = __str__\nraise Evil",
        follow_up="raise SystemExit(0)",
    ),
    Attack(
        "clearing the builtins",
        Aim.INTERPRETER,
        "import builtins\nbuiltins.__dict__.clear()",
        follow_up="print('still here')",
    ),
    Attack("clearing sys.modules", Aim.INTERPRETER, "sys.modules.clear()\nsys.path.clear()", follow_up="import json"),
    Attack(
        "replacing functions that the driver uses",
        Aim.INTERPRETER,
        "import json, socket\njson.dumps = json.loads = lambda *_, **__: 'nothing'\n"
        "socket.socket.sendall = lambda *_: None",
        follow_up="1",
        limit_s=_SOON_S,
    ),
    Attack(
        "replacing standard output", Aim.INTERPRETER, "sys.stdout = sys.stderr = None\nprint(1)", follow_up="print(2)"
    ),
    Attack("a crash", Aim.INTERPRETER, "ctypes.string_at(0)"),
    Attack(
        "overwriting the interpreter's memory",
        Aim.INTERPRETER,
        "for thing in (None, True, int, dict): ctypes.memset(id(thing), 255, 64)",
    ),
    Attack("exiting silently", Aim.INTERPRETER, "os._exit(0)"),
    Attack(
        "leaving changes for the next episode",
        Aim.INTERPRETER,
        "import numpy, sympy\nsympy.expand = numpy.sum = lambda *_: 'spoilt'\n"
        "for folder in ('/tmp', '.', os.path.expanduser('~')):\n"
        "    try:\n        for name in ('sympy.py', 'usercustomize.py', 'left.txt'):\n"
        "            open(os.path.join(folder, name), 'w').write('raise SystemExit')\n"
        "    except OSError: pass",
    ),
)
"""Attacks that try to exceed limits or to damage the interpreter."""
