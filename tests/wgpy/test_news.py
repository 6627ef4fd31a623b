"""What happens reaches all who read, until there is an end."""

import asyncio

from wgpy.news import MAX_EVENTS, News

ONE, OTHER = "one", "other"


async def read(news: News[str]) -> list[str]:
    return [event async for event in news.read()]


async def start(news: News[str], tasks: asyncio.TaskGroup) -> asyncio.Task[list[str]]:
    task = tasks.create_task(read(news))
    await asyncio.sleep(0)
    return task


def test_readers_have_what_was_told_since_they_began_and_before_the_end():
    async def run() -> tuple[list[str], list[str]]:
        news: News[str] = News()
        async with asyncio.TaskGroup() as tasks:
            first = await start(news, tasks)
            news.tell([ONE])
            second = await start(news, tasks)
            news.tell(iter([OTHER]))
            news.end()
        return first.result(), second.result()

    assert asyncio.run(run()) == ([ONE, OTHER], [OTHER])


def test_a_slow_reader_loses_the_oldest():
    async def run() -> list[str]:
        news: News[str] = News()
        async with asyncio.TaskGroup() as tasks:
            reader = await start(news, tasks)
            news.tell([ONE])
            news.tell([OTHER] * MAX_EVENTS)
            news.end()
        return reader.result()

    assert asyncio.run(run()) == [OTHER] * MAX_EVENTS


def test_who_comes_after_the_end_reads_nothing():
    news: News[str] = News()
    news.end()
    assert asyncio.run(read(news)) == []
