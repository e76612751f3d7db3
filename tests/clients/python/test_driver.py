"""Hosts that deny io_uring, each in its own way: a seccomp filter answers in the kernel's place."""

import ctypes
import errno
import os
import subprocess
import unittest

from server import PATIENCE_SECONDS
from server import Server

IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x0005_0000, 0x7FFF_0000
# Load the number of the call; compare; answer.
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06

ANSWERS = (errno.EPERM, errno.ENOSYS, errno.EACCES, errno.EINVAL, errno.ENOMEM)


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(Instruction)))


def deny(answer):
    """What makes io_uring_setup fail so in a process, and in all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = (Instruction * 4)(
        Instruction(LOAD_WORD, 0, 0, 0),
        Instruction(JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | answer),
        Instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    program = Program(len(instructions), instructions)

    def before():
        assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0

    return before


class Driver(unittest.TestCase):
    def test_asked_for_and_denied_it_is_a_start_error(self):
        for answer in ANSWERS:
            with self.subTest(errno.errorcode[answer]):
                flags = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
                ended = subprocess.run(
                    [os.environ["EDGE_BIN"], *flags, "--driver", "io_uring"],
                    capture_output=True,
                    preexec_fn=deny(answer),
                    text=True,
                    timeout=PATIENCE_SECONDS,
                )
                said = ended.stdout + ended.stderr
                self.assertEqual(ended.returncode, 2, said)
                self.assertIn("io.driver = io_uring, but it is not available here", said)
                self.assertIn(os.strerror(answer), said)

    def test_left_to_the_server_and_denied_it_is_epoll_and_says_why(self):
        for answer in ANSWERS:
            with self.subTest(errno.errorcode[answer]):
                denied = {"wanted": "auto", "expected": "epoll", "before": deny(answer)}
                with Server(**denied) as server:
                    self.assertIn("io_uring is not available", server.details["driverNote"])
                    self.assertIn(os.strerror(answer), server.details["driverNote"])


if __name__ == "__main__":
    unittest.main()
