import functools
import random
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from mlg.adapters.clock_system import SystemClock
from mlg.adapters.ids_uuid7 import Uuid7Ids
from mlg.core.clock import ManualClock
from mlg.core.ports import Ids

SEEDED = functools.partial(random.Random, 7)  # noqa: S311 (ids are no secrets)


@pytest.fixture(params=["system", "seeded"])
def ids(request: pytest.FixtureRequest) -> Ids:
    if request.param == "system":
        return Uuid7Ids(SystemClock())
    return Uuid7Ids(ManualClock(), SEEDED())


def test_an_id_is_a_uuid_of_version_7(ids: Ids) -> None:
    made = uuid.UUID(ids.new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_later_ids_sort_after_earlier_ones(ids: Ids) -> None:
    made = [ids.new_id() for _ in range(5_000)]
    assert made == sorted(set(made))


def test_threads_never_share_an_id(ids: Ids) -> None:
    made: list[str] = []
    threads = [
        threading.Thread(target=lambda: made.extend(ids.new_id() for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2_000


def test_the_first_48_bits_are_milliseconds_as_in_the_rfcs_example() -> None:
    # RFC 9562, appendix A.6: 2022-02-22 19:22:22 UTC is 0x017F22E279B0
    ids = Uuid7Ids(ManualClock(datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)), SEEDED())
    assert ids.new_id().startswith("017f22e2-79b0-7")


def test_a_clock_that_runs_back_does_not_break_the_order() -> None:
    clock = ManualClock()
    ids = Uuid7Ids(clock, SEEDED())
    before = ids.new_id()
    clock.wait(-timedelta(hours=1).total_seconds())
    assert ids.new_id() > before


def test_the_same_seed_gives_the_same_ids() -> None:
    one, other = (Uuid7Ids(ManualClock(), SEEDED()) for _ in range(2))
    assert [one.new_id() for _ in range(9)] == [other.new_id() for _ in range(9)]
