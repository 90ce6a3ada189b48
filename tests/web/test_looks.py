"""The live page costs half of a core at most, however many look at it."""

from __future__ import annotations

import asyncio
import threading
import time

from kepler_ebpf.web.looks import _MAX_WAITING, Looks


def test_only_so_many_wait_and_those_that_go_are_counted_until_they_are_done() -> None:
    go_on = threading.Event()

    def live(query: str) -> bytes:
        go_on.wait(60)
        return query.encode()

    async def flood() -> None:
        looks = Looks(live)
        tasks = [asyncio.ensure_future(looks.answer(str(number), False)) for number in range(_MAX_WAITING)]
        await asyncio.sleep(0)
        assert await looks.answer("one more", False) is None
        tasks[-1].cancel()
        await asyncio.wait([tasks[-1]])
        assert await looks.answer("in the place of who has gone", False) is None
        go_on.set()
        told = await asyncio.gather(*tasks[:-1])
        assert [one.body for one in told if one] == [str(number).encode() for number in range(_MAX_WAITING - 1)]
        last = await looks.answer("x", False)
        assert last is not None
        assert last.status == 200
        looks.stop()

    asyncio.run(flood())


def test_it_rests_as_long_as_it_works() -> None:
    worked = []

    def live(query: str) -> bytes:
        began = time.monotonic()
        while time.monotonic() - began < 0.05:
            pass
        worked.append(time.monotonic() - began)
        return b"{}"

    async def flood() -> float:
        looks = Looks(live)
        began = time.monotonic()
        await asyncio.gather(*(looks.answer("", False) for _ in range(10)))
        looks.stop()
        return time.monotonic() - began

    assert asyncio.run(flood()) >= 2 * sum(worked) * 0.99
