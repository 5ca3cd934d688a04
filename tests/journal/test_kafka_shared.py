"""A client that threads share: nobody is left with one that has ended, and none is left to the garbage collector."""

import gc
import weakref
from threading import Barrier, Thread

from evento.journal.kafka.shared import Shared


class Client:
    """Stands for one of the library's: what must not happen to it is that it is used, or ended again, after its end."""

    def __init__(self) -> None:
        self.ended = 0

    def end(self) -> None:
        self.ended += 1

    def ask(self) -> None:
        assert not self.ended


def test_it_is_made_when_it_is_used_and_is_one_for_all() -> None:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client())
        return made[-1]

    shared = Shared(make, Client.end)
    assert not made
    with shared.used() as first, shared.used() as second:
        assert first is second
    with shared.used() as third:
        assert third is first
    shared.close()
    assert [client.ended for client in made] == [1]


def test_one_that_is_replaced_ends_when_the_last_has_left_it() -> None:
    shared = Shared(Client, Client.end)
    with shared.used() as old:
        with shared.used() as same:
            shared.replace(old)
            shared.replace(old)  # by another whom it failed
            with shared.used() as new:
                assert new is not old
                shared.replace(old)  # by one who comes late: the new one stays
            with shared.used() as still:
                assert still is new
        assert same.ended == 0
    assert (old.ended, new.ended) == (1, 0)
    shared.close()
    shared.close()
    assert new.ended == 1


def test_one_that_is_used_when_all_is_closed_ends_later() -> None:
    shared = Shared(Client, Client.end)
    with shared.used() as client:
        shared.close()
        client.ask()
    assert client.ended == 1


def test_an_error_ends_the_use_and_not_the_client() -> None:
    shared = Shared(Client, Client.end)
    try:
        with shared.used() as client:
            raise TimeoutError
    except TimeoutError:
        pass
    assert client.ended == 0
    shared.close()
    assert client.ended == 1


def test_one_that_nobody_knows_any_more_is_not_left_to_the_garbage_collector() -> None:
    shared = Shared(Client, Client.end)
    with shared.used() as client:
        pass
    known = weakref.ref(client)
    del client
    shared.close()
    gc.collect()
    assert known() is None, "one that was ended is kept for ever"
    with shared.used() as client:
        known = weakref.ref(client)
    del shared, client
    gc.collect()
    assert known() is not None


def test_many_threads_that_replace_each_others_end_each_once_and_use_none_after() -> None:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client())
        return made[-1]

    shared, together, problems = Shared(make, Client.end), Barrier(8), list[BaseException]()

    def work() -> None:
        try:
            together.wait()
            for number in range(2_000):
                with shared.used() as client:
                    client.ask()
                    if number % 3 == 0:
                        shared.replace(client)
                    client.ask()
        except BaseException as error:  # noqa: BLE001 - it is told below
            problems.append(error)

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    assert not problems
    assert len(made) > 1
    assert {client.ended for client in made} == {1}
