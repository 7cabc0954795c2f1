"""System calls by name: their numbers on x86_64 and aarch64 (from Linux's tables), grouped by how they are filtered."""

from __future__ import annotations

UNCONDITIONAL = """
    read write close lseek pread64 pwrite64 readv writev open openat stat fstat lstat newfstatat statx access
    faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir mkdir mkdirat rmdir unlink
    unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate ftruncate fsync fdatasync fallocate
    sendfile copy_file_range flock statfs fstatfs umask fadvise64 dup dup2 dup3 pipe pipe2 poll ppoll
    select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 close_range mmap mprotect munmap
    mremap madvise brk msync mincore futex set_robust_list get_robust_list set_tid_address rseq sched_yield
    sched_getaffinity membarrier rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending pause
    nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time getitimer setitimer alarm getpid gettid
    getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid uname sysinfo
    getrusage times getrandom getpriority getcpu arch_prctl exit exit_group wait4 waitid restart_syscall recvfrom
    recvmsg getsockname getpeername shutdown getrlimit setrlimit
""".split()
"""Allowed with any arguments: files and memory of this process, time, waiting, its own identity."""

ATTRIBUTES = """
    setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
""".split()
"""Fail as on a file system without extended attributes, which code that copies files handles."""

FILE_MODES = """
    chmod fchmod fchmodat fchmodat2 utimensat
""".split()
"""Allowed if no file outside the scratch folder can be reached; otherwise they do nothing and report success."""

_TABLE = """
    read 0 63 | write 1 64 | close 3 57 | lseek 8 62 | pread64 17 67 | pwrite64 18 68 | readv 19 65 | writev 20 66
    | open 2 - | openat 257 56 | stat 4 - | fstat 5 80 | lstat 6 - | newfstatat 262 79 | statx 332 291 |
    access 21 - | faccessat 269 48 | faccessat2 439 439 | readlink 89 - | readlinkat 267 78 | getdents 78 - |
    getdents64 217 61 | getcwd 79 17 | chdir 80 49 | fchdir 81 50 | mkdir 83 - | mkdirat 258 34 | rmdir 84 - |
    unlink 87 - | unlinkat 263 35 | rename 82 - | renameat 264 38 | renameat2 316 276 | link 86 - | linkat 265 37
    | symlink 88 - | symlinkat 266 36 | truncate 76 45 | ftruncate 77 46 | fsync 74 82 | fdatasync 75 83 |
    fallocate 285 47 | utimensat 280 88 | sendfile 40 71 | copy_file_range 326 285 | flock 73 32 | statfs 137 43 |
    fstatfs 138 44 | umask 95 166 | fadvise64 221 223 | dup 32 23 | dup2 33 - | dup3 292 24 | pipe 22 - |
    pipe2 293 59 | poll 7 - | ppoll 271 73 | select 23 - | pselect6 270 72 | epoll_create1 291 20 |
    epoll_ctl 233 21 | epoll_wait 232 - | epoll_pwait 281 22 | eventfd2 290 19 | close_range 436 436 | mmap 9 222
    | mprotect 10 226 | munmap 11 215 | mremap 25 216 | madvise 28 233 | brk 12 214 | msync 26 227 |
    mincore 27 232 | futex 202 98 | set_robust_list 273 99 | get_robust_list 274 100 | set_tid_address 218 96 |
    rseq 334 293 | sched_yield 24 124 | sched_getaffinity 204 123 | membarrier 324 283 | rt_sigaction 13 134 |
    rt_sigprocmask 14 135 | rt_sigreturn 15 139 | sigaltstack 131 132 | rt_sigpending 127 136 | pause 34 - |
    nanosleep 35 101 | clock_nanosleep 230 115 | clock_gettime 228 113 | clock_getres 229 114 |
    gettimeofday 96 169 | time 201 - | getitimer 36 102 | setitimer 38 103 | alarm 37 - | getpid 39 172 |
    gettid 186 178 | getppid 110 173 | getuid 102 174 | geteuid 107 175 | getgid 104 176 | getegid 108 177 |
    getresuid 118 148 | getresgid 120 150 | getgroups 115 158 | getpgrp 111 - | getpgid 121 155 | getsid 124 156 |
    uname 63 160 | sysinfo 99 179 | getrusage 98 165 | times 100 153 | getrandom 318 278 | getpriority 140 141 |
    getcpu 309 168 | arch_prctl 158 - | exit 60 93 | exit_group 231 94 | wait4 61 260 | waitid 247 95 |
    restart_syscall 219 128 | recvfrom 45 207 | recvmsg 47 212 | getsockname 51 204 | getpeername 52 205 |
    shutdown 48 210 | getrlimit 97 163 | setrlimit 160 164 | clone 56 220 | clone3 435 435 | sendto 44 206 |
    socketpair 53 199 | prctl 157 167 | prlimit64 302 261 | fcntl 72 25 | ioctl 16 29 | chmod 90 - | fchmod 91 52
    | fchmodat 268 53 | fchmodat2 452 452 |
    setxattr 188 5 | lsetxattr 189 6 | fsetxattr 190 7 | getxattr 191 8 | lgetxattr 192 9 | fgetxattr 193 10 |
    listxattr 194 11 | llistxattr 195 12 | flistxattr 196 13
"""

SYSCALLS = {
    name: tuple(None if number == "-" else int(number) for number in numbers)
    for name, *numbers in map(str.split, _TABLE.split("|"))
}
"""Name -> numbers on (x86_64, aarch64); None if the machine lacks the call."""
