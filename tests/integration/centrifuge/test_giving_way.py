"""Centrifugo's JSON protocol: many commands in a frame keep nobody else waiting."""
from __future__ import annotations

import threading

import pytest

from pushserver.centrifuge import commands
from pushserver.runtime import shares, workers
from tests.support.centrifuge_client import PATH, RawClient
from tests.support.centrifuge_site import Handler, serving
from tests.support.waiting import PATIENCE, wait_until


@pytest.fixture
def site(monkeypatch):
    """A site with one worker, which others get after every command."""
    monkeypatch.setattr(commands, "GIVE_WAY", 0.0)
    monkeypatch.setattr(workers, "TURN_TIME", 0.0)
    monkeypatch.setattr(workers, "SPARES_PER_WORKER", 0)
    with serving(settings={"workers": 1}) as found:
        yield found


@pytest.fixture
def enter(site):
    """Return a function that connects a client."""
    clients = []

    def enter(Id):
        client = RawClient(site, f"{PATH}?Id={Id}")
        clients.append(client)
        client.connect()
        return client

    yield enter
    for client in clients:
        client.close()


def test_another_clients_command_comes_between_those_of_a_long_list(site, enter, monkeypatch):
    heard, started, gate = [], threading.Event(), threading.Event()

    def message(handler, data):
        heard.append(data)
        started.set()
        gate.wait(PATIENCE)

    monkeypatch.setattr(Handler, "message", message)
    greedy, other = enter("greedy"), enter("other")
    greedy.send(*({"send": {"data": number}} for number in range(50)))
    assert started.wait(PATIENCE)
    inbox = [link.inbox for link in site.push._hub.everyone() if link.Id == "other"][0]
    other.send({"send": {"data": "between"}})
    wait_until(lambda: inbox.jobs)
    gate.set()
    wait_until(lambda: len(heard) == 51)
    assert heard.index("between") < 50
    assert [data for data in heard if data != "between"] == list(range(50))


def test_all_are_answered_in_order_and_what_follows_the_list_comes_after_it(enter):
    client = enter("42")
    asked = [client.command("rpc", method="echo", data=number) for number in range(200)]
    client.send(*asked[:150])
    client.send(*asked[150:])
    assert [client.next()["rpc"]["data"] for _ in asked] == list(range(200))


def test_commands_count_and_a_long_list_pauses_while_others_wait(site, enter, monkeypatch):
    monkeypatch.setattr(shares, "BURST", 20.0)
    monkeypatch.setattr(shares, "RATE", 0.001)
    monkeypatch.setattr(shares, "SHARED_RATE", 0.001)
    monkeypatch.setattr(shares, "OTHERS_WAIT", 3600.0)
    greedy, quiet = enter("greedy"), enter("quiet")
    link = [link for link in site.push._hub.everyone() if link.Id == "greedy"][0]
    lists = 0
    while not link.pace.is_paused and lists < 100:
        greedy.send(*(greedy.command("rpc", method="echo", data=1) for _ in range(50)))
        site.push.send("quiet", "push")
        assert quiet.push() == {"message": {"data": "push"}}
        lists += 1
    assert link.pace.is_paused and link.inbox.caused < lists * 50
    site.push.disconnect("greedy")      # what is held is let go
    wait_until(lambda: link.inbox.jobs is None and not link.inbox.held)


def test_a_list_gives_way_for_what_it_causes_even_if_that_takes_no_time(site, enter, monkeypatch):
    monkeypatch.setattr(commands, "GIVE_WAY", 3600.0)
    monkeypatch.setattr(commands, "GIVE_WAY_UNITS", 5)
    monkeypatch.setattr(shares, "BURST", 20.0)
    monkeypatch.setattr(shares, "RATE", 0.001)
    monkeypatch.setattr(shares, "SHARED_RATE", 0.001)
    monkeypatch.setattr(shares, "OTHERS_WAIT", 3600.0)
    greedy, quiet = enter("greedy"), enter("quiet")
    inbox = [link.inbox for link in site.push._hub.everyone() if link.Id == "greedy"][0]
    for _ in range(4):      # in a debt that concerns nobody yet
        asked = [greedy.command("rpc", method="echo", data=1) for _ in range(15)]
        greedy.send(*asked)
        assert [greedy.next()["rpc"]["data"] for _ in asked] == [1] * 15
    before = inbox.caused
    site.push.send("quiet", "push")
    assert quiet.push() == {"message": {"data": "push"}}
    greedy.send(*(greedy.command("rpc", method="echo", data=1) for _ in range(15)))
    wait_until(lambda: inbox.held)
    assert before < inbox.caused < before + 15


def test_entering_and_leaving_counts_all_who_are_told(site, enter):
    for number in range(30):
        enter(f"member-{number}").call("subscribe", channel="news:a")
    client = enter("42")
    inbox = [link.inbox for link in site.push._hub.everyone() if link.Id == "42"][0]
    before = inbox.caused
    client.call("subscribe", channel="news:a")
    client.call("unsubscribe", channel="news:a")
    assert inbox.caused == before + 2 + 10 + 10
