"""stomp.py clients that lose their server and get what they missed, by headers alone."""

import itertools
import queue
import unittest

import stomp
from stomp.adapter.ws import WSStompConnection

import stores
from server import PATIENCE_SECONDS
from server import Server

NUMBERS = itertools.count(1)
FIRST, STREAM, MISSED = 5, 40, 30


class Listener(stomp.ConnectionListener):
    """Keeps MESSAGEs in one queue, and the answers to what was asked in another."""

    def __init__(self):
        self.messages = queue.Queue()
        self.answers = queue.Queue()
        self.disconnected = queue.Queue()

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.answers.put(frame)

    def on_error(self, frame):
        self.answers.put(frame)

    def on_disconnected(self):
        self.disconnected.put(True)


def take(of):
    return of.get(timeout=PATIENCE_SECONDS)


def place(frame):
    return int(frame.headers["epoch"]), int(frame.headers["seq"])


class Client:
    def __init__(self, server, login):
        self.connection = WSStompConnection(
            [("127.0.0.1", server.port)], ws_path="/ws", reconnect_attempts_max=1
        )
        self.listener = Listener()
        self.connection.set_listener("test", self.listener)
        self.connection.connect(login, "any", wait=True)

    def send(self, body):
        headers = {"idempotency-key": body}
        self.connection.send("/app/room.1", body, headers=headers, receipt=body)

    def subscribe(self, **wish):
        """Subscribes, and says whether all is there that was wished for."""
        headers = {"receipt": f"s{next(NUMBERS)}", **wish}
        self.connection.subscribe("/topic/room.1", id="s", headers=headers)
        return take(self.listener.answers).headers["recovered"] == "true"

    def hear(self, heard, body):
        """Takes messages up to the one with this body."""
        while not heard or heard[-1][1] != body:
            message = take(self.listener.messages)
            heard.append((place(message), message.body))

    def leave(self):
        self.connection.disconnect(receipt="bye")
        take(self.listener.disconnected)


def store(client, bodies, stored):
    """Says each until it is stored, and notes where; a repeat is known."""
    for body in bodies:
        while True:
            client.send(body)
            answer = take(client.listener.answers)
            if answer.cmd == "RECEIPT":
                stored[place(answer)] = body
                break
            # The store of a server that has just started is not there at once.
            assert answer.headers["message"] == "store-unavailable", answer.headers


def store_until_killed(server, client, bodies, at, stored):
    """Says all without waiting, kills the server behind so many answers; what has none is left."""
    for body in bodies:
        client.send(body)
    left = dict.fromkeys(bodies)

    def note(answer):
        stored[place(answer)] = answer.headers["receipt-id"]
        del left[answer.headers["receipt-id"]]

    for _ in range(at):
        note(take(client.listener.answers))
    server.kill()
    take(client.listener.disconnected)
    while not client.listener.answers.empty():
        note(client.listener.answers.get())
    return list(left)


class Recover(unittest.TestCase):
    def check(self, setting):
        server = Server(setting)
        try:
            server = self.run_rounds(server, setting)
        except BaseException:
            server.kill()
            raise
        server.stop()

    def run_rounds(self, server, setting):
        stored, heard = {}, []
        writer, reader = Client(server, "writer"), Client(server, "reader")
        store(writer, [f"first-{it}" for it in range(FIRST)], stored)
        self.assertTrue(reader.subscribe(history="10"))
        reader.hear(heard, f"first-{FIRST - 1}")
        for name, at in (("mid-stream", STREAM // 2), ("at-rest", STREAM)):
            bodies = [f"{name}-{it}" for it in range(STREAM)]
            unknown = store_until_killed(server, writer, bodies, at, stored)
            take(reader.listener.disconnected)
            while not reader.listener.messages.empty():
                message = reader.listener.messages.get()
                heard.append((place(message), message.body))
            # What nobody has answered is said again, and more; the reader is still away.
            server = Server(setting)
            try:
                writer = Client(server, "writer")
                missed = [f"{name}-missed-{it}" for it in range(MISSED)]
                store(writer, [*unknown, *missed], stored)
                reader = Client(server, "reader")
                last = heard[-1][0]
                is_whole = reader.subscribe(since=f"{last[0]}:{last[1]}")
                if at == STREAM or last in stored:
                    self.assertTrue(is_whole)
                store(writer, [f"{name}-live"], stored)
                reader.hear(heard, f"{name}-live")
            except BaseException:
                server.kill()
                raise
        places = [it[0] for it in heard]
        self.assertEqual(places, sorted(set(places)))
        # A message that was seen and not stored has no place there, and was said again.
        self.assertEqual([it for it in heard if it[0] in stored], sorted(stored.items()))
        self.assertEqual(len(set(stored.values())), FIRST + 2 * (STREAM + MISSED + 1))
        reader.leave()
        writer.leave()
        return server

    def test_what_was_missed_is_in_a_sqlite_file(self):
        with stores.sqlite() as setting:
            self.check(setting)

    def test_what_was_missed_is_in_a_mariadb(self):
        with stores.mariadb() as setting:
            self.check(setting)


if __name__ == "__main__":
    unittest.main()
