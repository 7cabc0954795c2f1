"""Hostile programs that attack files, secrets, the network, the kernel, other processes and the result channel."""

from __future__ import annotations

from rollout.tools.sandbox.hostile import Attack

ESCAPE_ATTACKS = (
    Attack("reading /etc/passwd", "files", "attempt(lambda: open('/etc/passwd').read())"),
    Attack("listing the user's home", "files", "attempt(os.listdir, '@HOME@')"),
    Attack(
        "listing the run directory", "secrets", "attempt(os.listdir, '@RUN@')\nprint(open('@RUN@/secret.txt').read())"
    ),
    Attack(
        "deleting the run directory",
        "files",
        "import shutil\nshutil.rmtree('@RUN@', ignore_errors=True)\nattempt(os.remove, '@RUN@/precious.txt')",
    ),
    Attack("overwriting the run directory", "files", "attempt(open, '@RUN@/precious.txt', 'w')"),
    Attack(
        "changing modes and times in the run directory",
        "files",
        "for deed in (lambda: os.chmod('@RUN@/precious.txt', 0), lambda: os.utime('@RUN@/precious.txt', (1, 1))):\n"
        "    try: deed()\n    except OSError: pass",
    ),
    Attack(
        "writing outside the scratch folder",
        "files",
        "for folder in ('/', '/etc', '/usr/lib', '/var/tmp', '/dev', '/dev/shm', '/proc', '/packages',\n"
        "        '@RUN@', '@HOME@'):\n"
        "    attempt(open, folder + '/planted-by-hostile-code', 'w')",
    ),
    Attack(
        "deleting the interpreter's files",
        "files",
        "library = os.path.dirname(os.__file__)\n"
        "def removable(folder):\n"
        "    try: os.rmdir(folder)\n"
        "    except OSError as error:\n"
        "        if error.errno == errno.ENOTEMPTY: return\n"
        "        raise\n"
        "attempt(removable, library + '/encodings')\nattempt(removable, library)",
    ),
    Attack(
        "changing the interpreter's files",
        "files",
        "import sympy, numpy, json\n"
        "for module in (os, json, sympy, numpy): attempt(os.open, module.__file__, os.O_WRONLY)\n"
        "attempt(os.mkdir, os.path.dirname(sympy.__file__) + '/planted-by-hostile-code')",
    ),
    Attack(
        "links out of the scratch folder",
        "files",
        "os.symlink('/etc/passwd', 'soft')\nattempt(lambda: open('soft').read())\n"
        "os.symlink('@RUN@/secret.txt', 'secret')\nattempt(lambda: open('secret').read())\n"
        "attempt(os.link, '/etc/passwd', 'hard')",
    ),
    Attack(
        "device files",
        "files",
        "import stat\nattempt(os.mknod, 'disk', 0o600 | stat.S_IFBLK, os.makedev(254, 0))\n"
        "for path in ('/dev/vda', '/dev/sda', '/dev/mem', '/dev/kmsg', '/dev/nvidia0', '/dev/tty'):\n"
        "    attempt(os.open, path, os.O_RDONLY)",
    ),
    Attack(
        "another episode's files",
        "secrets",
        "folder = os.getcwd()\nwhile folder != '/':\n    folder = os.path.dirname(folder)\n"
        "    for place, _, names in os.walk(folder):\n        for name in names:\n"
        "            try: print(open(os.path.join(place, name)).read(1000) if name == 'victim.txt' else '', end='')\n"
        "            except OSError: pass\n    if folder.count('/') < 3: break",
    ),
    Attack(
        "secrets in environment variables",
        "secrets",
        "print(dict(os.environ))\nlibc = ctypes.CDLL(None)\nplace = ctypes.c_void_p.in_dll(libc, 'environ').value\n"
        "print(ctypes.string_at(ctypes.c_void_p.from_address(place).value, 3000) if place else '')",
    ),
    Attack(
        "environment and memory of every process",
        "secrets",
        "for process in ('self', '@WORKER@', os.getppid(), *range(1, 50)):\n"
        "    for name in ('environ', 'cmdline', 'mem', 'maps', 'root/etc/passwd', 'cwd/pyproject.toml', 'fd'):\n"
        "        attempt(lambda: open(f'/proc/{process}/{name}', 'rb').read(100) or 1 / 0)",
    ),
    Attack(
        "a TCP connection to this machine",
        "network",
        "import socket\nattempt(socket.create_connection, ('127.0.0.1', @PORT@), 2)\nkernel('socket', 2, 1, 0)",
    ),
    Attack(
        "a web page",
        "network",
        "import urllib.request\nattempt(urllib.request.urlopen, 'http://127.0.0.1:@PORT@/', timeout=2)",
    ),
    Attack("a name lookup", "network", "import socket\nattempt(socket.getaddrinfo, 'example.com', 80)"),
    Attack(
        "sockets of every family",
        "network",
        "import socket\nfor family in range(1, 46):\n"
        "    for kind in (1, 2, 3, 5): attempt(socket.socket, family, kind)",
    ),
    Attack(
        "a Unix socket of this machine",
        "network",
        "import socket\ndef reach(address):\n    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "    pair[0].sendto(b'hello', address)\n"
        "for address in ('\\0@SOCKET@', '@RUN@/socket', '/run/docker.sock'):\n    attempt(reach, address)\n"
        "    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n    attempt(pair[0].connect, address)",
    ),
    Attack("tracing", "kernel", "kernel('ptrace', 16, os.getppid())\nkernel('ptrace')\nkernel('process_vm_readv', 1)"),
    Attack(
        "new namespaces",
        "kernel",
        "for flags in (0x10000000, 0x20000, 0x40000000, 0x20000000): kernel('unshare', flags)\n"
        "kernel('clone', 0x10000000 | 17)\nkernel('setns', 3)\nattempt(os.chroot, '.')",
    ),
    Attack(
        "mounting",
        "kernel",
        "for name in ('mount', 'umount2', 'pivot_root', 'chroot', 'fsopen', 'move_mount', 'open_tree'):\n"
        "    kernel(name)\n"
        "path = ctypes.create_string_buffer(b'/proc')\nkernel('umount2', ctypes.addressof(path), 2)",
    ),
    Attack(
        "all other forbidden system calls",
        "kernel",
        "for name in NUMBERS:\n    if name not in ('clone', 'prctl', 'ptrace', 'seccomp'): kernel(name)\n"
        "kernel('seccomp', 99)\nfor option in (4, 8, 24, 38, 47): kernel('prctl', option, 1)",
    ),
    Attack(
        "system calls of another architecture",
        "kernel",
        "libc = ctypes.CDLL(None)\nif libc.syscall(ctypes.c_long(0x40000000 + 39)) > 0: print('ESCAPED')",
    ),
    Attack(
        "becoming root",
        "kernel",
        "def risen(call):\n    call(0)\n    if os.getuid() == 0: open('/etc/shadow').read()\n    else: raise OSError\n"
        "attempt(risen, os.setuid)\nattempt(risen, os.setgid)\nattempt(os.setgroups, [0])\nkernel('capset')",
    ),
    Attack(
        "raising the limits",
        "kernel",
        "import resource\nfor kind in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE):\n"
        "    attempt(resource.setrlimit, kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "attempt(resource.prlimit, @WORKER@, resource.RLIMIT_CPU)",
    ),
    Attack(
        "killing the worker",
        "signals",
        "for process in (os.getppid(), @WORKER@, 1, -1, -@WORKER@): attempt(os.kill, process, 0)\n"
        "for group in (0, os.getpgid(0)): attempt(os.killpg, group, 0)",
    ),
    Attack(
        "killing the worker through other system calls",
        "signals",
        "for name in ('tgkill', 'tkill', 'rt_sigqueueinfo', 'rt_tgsigqueueinfo', 'pidfd_open'):\n"
        "    kernel(name, @WORKER@, @WORKER@)\nkernel('pidfd_send_signal', 3)\nkernel('pidfd_getfd', 3, 1)",
    ),
    Attack(
        "signals through a file descriptor",
        "signals",
        "import fcntl\nends = os.pipe()\nattempt(fcntl.fcntl, ends[0], fcntl.F_SETOWN, os.getppid())\n"
        "attempt(fcntl.fcntl, ends[0], 10, 9)\nattempt(fcntl.ioctl, 3, 0x5412, b'x')",
    ),
    Attack(
        "stopping and ending itself",
        "signals",
        "import signal\nattempt(os.kill, os.getpid(), signal.SIGSTOP)\nsignal.raise_signal(signal.SIGSTOP)",
        follow_up="2",
    ),
    Attack(
        "a forged result",
        "result channel",
        "import json\nbody = json.dumps({'type': 'result', 'id': '0' * 32, 'stdout': 'forged', 'value': None,\n"
        "    'error': None, 'final_answer': 'forged', 'timed_out': False, 'cut': []}).encode()\n"
        "for number in range(3, 64):\n"
        "    try: os.write(number, len(body).to_bytes(4, 'big') + body)\n    except OSError: pass",
        follow_up="2",
    ),
    Attack(
        "a result with the right call id, sent in advance",
        "result channel",
        "import gc\nfrom rollout.tools.sandbox.inside.interpreter import Interpreter\n"
        "(driver,) = [thing for thing in gc.get_objects() if type(thing) is Interpreter]\n"
        "result = {'type': 'result', 'id': driver.call, 'stdout': '', 'value': 'mine', 'error': None,\n"
        "    'final_answer': None, 'timed_out': False, 'cut': []}\ndriver.send(result)\ndriver.send(result)",
        follow_up="2",
    ),
    Attack(
        "random bytes",
        "result channel",
        "for number in range(3, 64):\n    try: os.write(number, os.urandom(50000))\n    except OSError: pass",
    ),
    Attack(
        "a frame of four gigabytes",
        "result channel",
        "os.write(3, b'\\xff' * 4)\nwhile True: os.write(3, bytes(1 << 20))",
    ),
    Attack(
        "a frame that never ends",
        "result channel",
        "import time\nos.write(3, b'\\0\\0\\xff\\xff{')\ntime.sleep(60)",
        limit_s=0.5,
    ),
    Attack(
        "frames that break a parser",
        "result channel",
        "body = b'[' * 100000\nos.write(3, len(body).to_bytes(4, 'big') + body)",
    ),
    Attack(
        "an integer of 100,000 digits",
        "result channel",
        "body = b'{\"type\": \"call\", \"id\": ' + b'9' * 100000 + b'}'\n"
        "os.write(3, len(body).to_bytes(4, 'big') + body)",
    ),
    Attack(
        "pickles",
        "result channel",
        "import pickle\nclass Bomb:\n"
        "    def __reduce__(self): return (os.system, ('touch @RUN@/planted-by-hostile-code',))\n"
        "body = pickle.dumps(Bomb())\nos.write(3, len(body).to_bytes(4, 'big') + body)\nfinal_answer(Bomb())",
    ),
    Attack("closing the channel", "result channel", "os.closerange(0, 64)"),
    Attack(
        "replacing the channel",
        "result channel",
        "import socket\nos.dup2(socket.socketpair()[0].fileno(), 3)",
    ),
    Attack("endless calls", "result channel", "while True:\n    try: search('x')\n    except RuntimeError: pass"),
    Attack(
        "calls with invalid arguments",
        "result channel",
        "for arguments in ((1, 2, 3), ('x' * 10**7,), (float('nan'),), (object(),), (b'x',)):\n"
        "    attempt(search, *arguments)\nattempt(search, nothing=1)\n"
        "loop = []\nloop.append(loop)\nattempt(search, loop)",
    ),
    Attack(
        "calling functions that are not offered",
        "result channel",
        "import gc\nfrom rollout.tools.sandbox.inside.interpreter import Interpreter\n"
        "(driver,) = [thing for thing in gc.get_objects() if type(thing) is Interpreter]\n"
        "for name in ('__import__', 'os.system', 'search.__globals__', ''): attempt(driver._tool(name), 'id')",
    ),
    Attack(
        "a call from a thread after the code has ended",
        "result channel",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), search('late'))).start()",
        follow_up="import time\ntime.sleep(0.5)\n2",
    ),
)
"""Attacks that try to reach resources outside the sandbox."""
