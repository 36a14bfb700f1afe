"""Starts a program that is nobody's child here: `python detached.py FD PROGRAM ARGUMENT…`.

Envoy can hand over only in a mode in which it ends with the thread that started it
(PR_SET_PDEATHSIG), and what the launcher starts outlives the launcher. So the program begins
once the process that forked it is gone. FD is told its pid, and errno if it cannot be run.
"""

import os
import sys
import time


def main(told: int, argv: list[str]) -> None:
    """Fork, wait until the parent is gone, and become the program."""
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        time.sleep(0.001)
    os.setsid()
    os.set_inheritable(told, False)
    os.write(told, b"%d\n" % os.getpid())
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(told, b"%d\n" % (error.errno or 1))
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
