"""What another process wrote a moment ago, and this one has only half taken in."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx

from segue import wiring
from segue.core.actions import Action
from segue.core.records import ItemRecord
from segue.core.types import empty_events
from segue.web import app


def test_a_song_that_is_in_the_state_before_it_is_in_the_catalogue_is_left_out_for_now(tmp_path: Path) -> None:
    """The state follows the log at its own pace, the catalogue is taken in each second: a list is a 200 in between too."""

    async def popular(client: httpx.AsyncClient) -> list[str]:
        answer = await client.get("/v1/popular")
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    async def story(home: wiring.Home, serving: object) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(serving), base_url="http://here") as client:  # type: ignore[arg-type]
            assert await popular(client) == []
            home.catalogue.refresh()
            assert await popular(client) == ["new"]

    with wiring.open_home(tmp_path / "home", writer=True) as home:
        service = wiring.service(home, frozenset())
        with wiring.open_home(tmp_path / "home", writer=False) as other:
            event = empty_events(1)
            event["item"] = other.catalogue.put_items([ItemRecord("new", title="New")])
            event["user"] = other.catalogue.users.intern(["somebody"])
            event["action"], event["at"], event["key_hi"] = int(Action.COMPLETED), time.time_ns() // 1_000_000, 7
            other.log.append(event)
        home.catch_up()
        asyncio.run(story(home, app.create(service)))
