"""Pooled randomness: nothing twice, over pages, threads and forks; and it is random."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from mlg.adapters.entropy_pooled import PooledRandom


def test_no_piece_comes_twice_from_several_threads() -> None:
    pool = PooledRandom()
    with ThreadPoolExecutor(4) as threads:
        pieces = list(threads.map(lambda _: pool.randbytes(16), range(20_000)))
    assert len(set(pieces)) == 20_000


def test_more_than_a_page_and_none_at_all() -> None:
    pool = PooledRandom()
    assert [len(pool.randbytes(n)) for n in (0, 1, 10_000, 4096, 0)] == [0, 1, 10_000, 4096, 0]
    assert pool.getrandbits(0) == 0
    assert 0 <= pool.getrandbits(3) < 8


FORKED = """
import os
from mlg.adapters.entropy_pooled import PooledRandom
pool = PooledRandom()
pool.randbytes(1)
child = os.fork()
os.write(1, pool.randbytes(16).hex().encode() + b" ")  # in one piece
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_begins_a_page_of_its_own() -> None:
    told = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, check=True)
    one, two = told.stdout.split()
    assert one != two


def test_bits_are_set_half_of_the_time() -> None:
    pool = PooledRandom()
    ones = [sum(pool.getrandbits(74) >> bit & 1 for _ in range(4_000)) for bit in range(74)]
    # 74 binomials of 4,000: beyond 5.5 standard deviations by chance less than once in 300,000
    assert all(abs(n - 2_000) < 5.5 * 1_000**0.5 for n in ones)
