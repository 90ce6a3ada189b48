"""The live page costs half of a core at most, however many look at it."""

from __future__ import annotations

import asyncio
import threading
import time

from kepler_ebpf.web.viewers import _MAX_WAITING, Viewers


def test_only_so_many_wait_and_those_that_go_are_counted_until_they_are_done() -> None:
    go_on = threading.Event()

    class Waiting:
        def live(self, query: str) -> bytes:
            go_on.wait(60)
            return query.encode()

    async def flood() -> None:
        viewers = Viewers(Waiting())
        tasks = [asyncio.ensure_future(viewers.answer(str(number), False)) for number in range(_MAX_WAITING)]
        await asyncio.sleep(0)
        assert await viewers.answer("one more", False) is None
        tasks[-1].cancel()
        await asyncio.wait([tasks[-1]])
        assert await viewers.answer("in the place of who has gone", False) is None
        go_on.set()
        told = await asyncio.gather(*tasks[:-1])
        assert [one.body for one in told if one] == [str(number).encode() for number in range(_MAX_WAITING - 1)]
        last = await viewers.answer("x", False)
        assert last is not None
        assert last.status == 200
        viewers.stop()

    asyncio.run(flood())


def test_it_rests_as_long_as_it_works() -> None:
    worked = []

    class Working:
        def live(self, query: str) -> bytes:
            began = time.monotonic()
            while time.monotonic() - began < 0.05:
                pass
            worked.append(time.monotonic() - began)
            return b"{}"

    async def flood() -> float:
        viewers = Viewers(Working())
        began = time.monotonic()
        await asyncio.gather(*(viewers.answer("", False) for _ in range(10)))
        viewers.stop()
        return time.monotonic() - began

    assert asyncio.run(flood()) >= 2 * sum(worked) * 0.99
