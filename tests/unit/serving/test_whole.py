"""What is written in one turn of the loop leaves in one piece."""

import asyncio

from mlg.serving.whole import WholeWrites


class Sink(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def close(self) -> None:
        self.calls.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.calls


def test_head_and_body_are_one_write() -> None:
    async def turn() -> list[bytes | str]:
        sink = Sink()
        whole = WholeWrites(sink, asyncio.get_running_loop())
        whole.write(b"head ")
        whole.write(b"body")
        assert sink.calls == []
        await asyncio.sleep(0)
        whole.write(b"next")
        whole.close()
        await asyncio.sleep(0)
        whole.write(b"too late")
        await asyncio.sleep(0)
        return sink.calls

    assert asyncio.run(turn()) == [b"head body", b"next", "closed"]
