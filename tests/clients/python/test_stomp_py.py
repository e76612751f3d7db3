"""stomp.py over WebSocket, as a Python back end or script uses it."""

import itertools
import queue
import unittest

import stomp
from stomp.adapter.ws import WSStompConnection

from server import PATIENCE_SECONDS
from server import Server

RECEIPTS = itertools.count(1)


class Listener(stomp.ConnectionListener):
    """Keeps what comes, each kind in a queue of its own."""

    def __init__(self):
        self.connected = queue.Queue()
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.errors = queue.Queue()
        self.disconnected = queue.Queue()

    def on_connected(self, frame):
        self.connected.put(frame)

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.disconnected.put(True)


class StompPy(unittest.TestCase):
    """Each claim with connections of its own, all on one server."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def connect(self, login, **options):
        """A connected client and its listener."""
        connection = WSStompConnection(
            [("127.0.0.1", self.server.port)], ws_path="/ws", reconnect_attempts_max=1, **options
        )
        listener = Listener()
        connection.set_listener("test", listener)
        connection.connect(login, "any", wait=True)
        self.connected = take(listener.connected)
        return connection, listener

    def leave(self, connection, listener):
        """Disconnects with a receipt and waits for it."""
        receipt = f"bye-{next(RECEIPTS)}"
        connection.disconnect(receipt=receipt)
        self.assertEqual(take(listener.receipts), receipt)
        take(listener.disconnected)

    def subscribe(self, connection, listener, destination, id):
        receipt = f"r{next(RECEIPTS)}"
        connection.subscribe(destination, id=id, headers={"receipt": receipt})
        self.assertEqual(take(listener.receipts), receipt)

    def send(self, connection, listener, destination, body, **options):
        receipt = f"r{next(RECEIPTS)}"
        connection.send(destination, body, receipt=receipt, **options)
        self.assertEqual(take(listener.receipts), receipt)

    def test_connects_subscribes_sends_receives_and_leaves(self):
        connection, listener = self.connect("alice")
        self.assertEqual(self.connected.headers["version"], "1.2")
        self.assertEqual(self.connected.headers["user-name"], "alice")
        self.subscribe(connection, listener, "/topic/room.1", "s1")
        self.send(connection, listener, "/app/room.1", "Grüße from Python")
        message = take(listener.messages)
        self.assertEqual(message.body, "Grüße from Python")
        self.assertEqual(message.headers["destination"], "/topic/room.1")
        self.assertEqual(message.headers["subscription"], "s1")
        self.assertTrue(message.headers["message-id"])
        self.leave(connection, listener)

    def test_unsubscribes_with_a_receipt(self):
        connection, listener = self.connect("alice")
        self.subscribe(connection, listener, "/topic/python", "s1")
        self.subscribe(connection, listener, "/topic/fence", "s2")
        connection.unsubscribe(id="s1", receipt="gone")
        self.assertEqual(take(listener.receipts), "gone")
        self.send(connection, listener, "/topic/python", "to nobody")
        self.send(connection, listener, "/topic/fence", "fence")
        self.assertEqual(take(listener.messages).body, "fence")
        self.leave(connection, listener)

    def test_private_messages_reach_their_user(self):
        alice, alice_hears = self.connect("alice")
        bob, bob_hears = self.connect("bob")
        for connection, listener in [(alice, alice_hears), (bob, bob_hears)]:
            self.subscribe(connection, listener, "/user/queue/private", "p")
        self.send(alice, alice_hears, "/app/private.bob", "for bob")
        self.send(bob, bob_hears, "/app/private.alice", "for alice")
        message = take(bob_hears.messages)
        self.assertEqual(message.body, "for bob")
        self.assertEqual(message.headers["destination"], "/user/queue/private")
        self.assertEqual(take(alice_hears.messages).body, "for alice")
        self.leave(alice, alice_hears)
        self.leave(bob, bob_hears)

    def test_headers_and_every_byte_arrive(self):
        connection, listener = self.connect("alice", auto_decode=False, binary_mode=True)
        self.subscribe(connection, listener, "/topic/bytes", "s1")
        body = bytes(range(256)) * 4
        headers = {"x-colon": "a:b", "x-lines": "one\ntwo", "x-back": "c:\\n"}
        type = "application/octet-stream"
        self.send(connection, listener, "/topic/bytes", body, content_type=type, **headers)
        message = take(listener.messages)
        self.assertEqual(message.body, body)
        self.assertEqual(message.headers["content-type"], type)
        for name, value in headers.items():
            self.assertEqual(message.headers[name], value)
        self.leave(connection, listener)

    def test_transactions_are_sent_at_commit(self):
        connection, listener = self.connect("alice")
        self.subscribe(connection, listener, "/topic/transactions", "s1")
        transaction = connection.begin()
        for body in ["1", "2"]:
            connection.send("/topic/transactions", body, transaction=transaction)
        self.send(connection, listener, "/topic/transactions", "outside")
        connection.commit(transaction)
        bodies = [take(listener.messages).body for _ in range(3)]
        self.assertEqual(bodies, ["outside", "1", "2"])
        self.leave(connection, listener)

    def test_a_refused_send_is_an_error_that_names_its_receipt(self):
        connection, listener = self.connect("alice")
        connection.send("/nowhere", "x", receipt="refused")
        error = take(listener.errors)
        self.assertEqual(error.headers["receipt-id"], "refused")
        self.assertTrue(connection.is_connected())
        self.subscribe(connection, listener, "/topic/afterwards", "s1")
        self.send(connection, listener, "/topic/afterwards", "still here")
        self.assertEqual(take(listener.messages).body, "still here")
        self.leave(connection, listener)

    def test_heart_beats_keep_the_session(self):
        connection, listener = self.connect("alice", heartbeats=(1000, 1000))
        self.assertEqual(self.connected.headers["heart-beat"], "1000,1000")
        beats = queue.Queue()
        listener.on_heartbeat = lambda: beats.put(True)
        for _ in range(4):
            take(beats)
        self.assertTrue(connection.is_connected())
        self.leave(connection, listener)


def take(of):
    """The next item of a queue."""
    return of.get(timeout=PATIENCE_SECONDS)


if __name__ == "__main__":
    unittest.main()
