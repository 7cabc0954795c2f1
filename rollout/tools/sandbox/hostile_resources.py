"""Hostile programs that exhaust time, memory, processes and output, or damage their own interpreter."""

from __future__ import annotations

from rollout.tools.sandbox.hostile import Attack

_SOON_S = 0.3

RESOURCE_ATTACKS = (
    Attack("endless loop", "time", "while True: pass", limit_s=_SOON_S),
    Attack(
        "endless loop that swallows every exception",
        "time",
        "def loop():\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\nloop()",
        limit_s=_SOON_S,
    ),
    Attack("endless loop in C", "time", "import itertools\nsum(itertools.repeat(0))", limit_s=_SOON_S),
    Attack("a power with a hundred million digits", "time", "10**10**8", limit_s=_SOON_S),
    Attack("endless sleep", "time", "import time\ntime.sleep(10**6)", limit_s=_SOON_S),
    Attack("catastrophic regular expression", "time", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", limit_s=_SOON_S),
    Attack(
        "last value whose repr never ends",
        "time",
        "class Endless:\n    def __repr__(self):\n        while True: pass\nEndless()",
        limit_s=_SOON_S,
    ),
    Attack(
        "final answer whose text never ends",
        "time",
        "class Endless:\n    def __str__(self):\n        while True: pass\nfinal_answer(Endless())",
        limit_s=_SOON_S,
    ),
    Attack(
        "disabling the timer, then an endless loop",
        "time",
        "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0)\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        limit_s=_SOON_S,
    ),
    Attack(
        "deadlock",
        "time",
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        limit_s=_SOON_S,
    ),
    Attack(
        "threads that continue after the code has ended",
        "time",
        "import threading\ndef spin():\n    while True: pass\nfor _ in range(3): threading.Thread(target=spin).start()",
        follow_up="1 + 1",
        limit_s=_SOON_S,
    ),
    Attack(
        "profile function that traps the driver after the code",
        "time",
        "import sys\ndef trap(*_):\n    while True: pass\nsys.setprofile(trap)",
        limit_s=_SOON_S,
    ),
    Attack(
        "memory bomb",
        "memory",
        "hoard = []\nfor _ in range(3000): hoard.append(bytearray(1 << 20))\nprint('ESCAPED')",
    ),
    Attack("one object of gigabytes", "memory", "attempt(bytearray, 3 << 30)"),
    Attack("gigabytes of shared memory", "memory", "import mmap\nattempt(mmap.mmap, -1, 3 << 30)"),
    Attack("numpy array of gigabytes", "memory", "import numpy\nattempt(numpy.empty, 3 << 27)"),
    Attack(
        "unbounded recursion",
        "memory",
        "import sys\nsys.setrecursionlimit(10**9)\ndef deeper(): return [deeper()]\ndeeper()",
        limit_s=1.0,
    ),
    Attack(
        "recursion through C",
        "memory",
        "sys.setrecursionlimit(10**9)\ndef deeper(_): return list(map(deeper, [0]))\ndeeper(0)",
        limit_s=1.0,
    ),
    Attack("nesting that breaks the parser", "memory", "eval('(' * 10**5 + ')' * 10**5)\neval('-' * 10**6 + '1')"),
    Attack(
        "memory that process limits do not count",
        "memory",
        "for name in ('memfd_create', 'memfd_secret', 'shmget', 'msgget', 'semget', 'mq_open', 'io_uring_setup'):\n"
        "    kernel(name)",
    ),
    Attack(
        "filling the disk",
        "memory",
        "for number in range(100):\n    with open(f'block{number}', 'wb') as file: file.write(bytes(1 << 20))\n"
        "print('ESCAPED')",
    ),
    Attack(
        "filling the disk with empty files",
        "memory",
        "for number in range(10000): open(f'name{number}', 'w').close()\nprint('ESCAPED')",
        limit_s=30.0,
    ),
    Attack("dumping core", "memory", "os.abort()"),
    Attack(
        "fork bomb",
        "processes",
        "import time\nfor _ in range(100):\n    try: child = os.fork()\n    except OSError: continue\n"
        "    if child == 0:\n        time.sleep(3)\n        os._exit(0)\n    print('ESCAPED')",
    ),
    Attack(
        "fork bomb through C",
        "processes",
        "libc = ctypes.CDLL(None)\nfor call in (libc.fork, libc.vfork):\n    child = call()\n"
        "    if child == 0: os._exit(0)\n    if child > 0: print('ESCAPED')",
    ),
    Attack(
        "fork bomb with the driver's own permit",
        "processes",
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
        "processes",
        "import threading, time\nthreading.stack_size(1 << 16)\n"
        "for _ in range(1000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('ESCAPED')",
        limit_s=30.0,
    ),
    Attack("a shell", "processes", "import subprocess\nattempt(subprocess.run, ['/bin/sh', '-c', 'id'])"),
    Attack("a shell through C", "processes", "if os.system('exit 0') == 0: print('ESCAPED')"),
    Attack(
        "executing another program",
        "processes",
        "attempt(os.execv, sys.executable, ['python', '-c', 'print(1)'])\nkernel('execve')\nkernel('execveat')",
    ),
    Attack(
        "multiprocessing",
        "processes",
        "import multiprocessing\nprocess = multiprocessing.get_context('fork').Process(target=print)\n"
        "attempt(process.start)",
    ),
    Attack("output flood", "output", "while True: print('x' * 10**6)", limit_s=_SOON_S),
    Attack("one print of twenty megabytes", "output", "print('x' * (2 * 10**7))\nsys.stderr.write('y' * 10**7)"),
    Attack("huge last value", "output", "'x' * (2 * 10**7)"),
    Attack("huge error", "output", "raise ValueError('x' * (2 * 10**7))"),
    Attack("huge final answer", "output", "final_answer('x' * (2 * 10**7))"),
    Attack("text that is not valid Unicode", "output", "print('\\ud800' * 100, '\\x00\\x1b[2J')\n'\\udfff'"),
    Attack(
        "exceptions that cannot be printed",
        "interpreter",
        "class Evil(BaseException):\n    def __str__(self): raise Evil\n    __repr__ = __str__\nraise Evil",
        follow_up="raise SystemExit(0)",
    ),
    Attack(
        "clearing the builtins",
        "interpreter",
        "import builtins\nbuiltins.__dict__.clear()",
        follow_up="print('still here')",
    ),
    Attack("clearing sys.modules", "interpreter", "sys.modules.clear()\nsys.path.clear()", follow_up="import json"),
    Attack(
        "replacing functions that the driver uses",
        "interpreter",
        "import json, socket\njson.dumps = json.loads = lambda *_, **__: 'nothing'\n"
        "socket.socket.sendall = lambda *_: None",
        follow_up="1",
        limit_s=_SOON_S,
    ),
    Attack(
        "replacing standard output", "interpreter", "sys.stdout = sys.stderr = None\nprint(1)", follow_up="print(2)"
    ),
    Attack("a crash", "interpreter", "ctypes.string_at(0)"),
    Attack(
        "overwriting the interpreter's memory",
        "interpreter",
        "for thing in (None, True, int, dict): ctypes.memset(id(thing), 255, 64)",
    ),
    Attack("exiting silently", "interpreter", "os._exit(0)"),
    Attack(
        "leaving changes for the next episode",
        "interpreter",
        "import numpy, sympy\nsympy.expand = numpy.sum = lambda *_: 'spoilt'\n"
        "for folder in ('/tmp', '.', os.path.expanduser('~')):\n"
        "    try:\n        for name in ('sympy.py', 'usercustomize.py', 'left.txt'):\n"
        "            open(os.path.join(folder, name), 'w').write('raise SystemExit')\n"
        "    except OSError: pass",
    ),
)
"""Attacks that try to exceed limits or to damage the interpreter."""
