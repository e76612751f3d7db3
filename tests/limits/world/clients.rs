//! What clients of a [`World`] do in one go, and what they expect to hear.

use ringway::shard::ConnectionId;

use crate::wire;
use crate::wire::Frame;
use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::world::World;

impl World {
    /// A connection that has upgraded and said nothing else.
    #[track_caller]
    pub(crate) fn upgraded(&mut self, head: &str) -> ConnectionId {
        let id = self.accept().expect("there is room");
        self.send(id, head.as_bytes());
        let said = self.said(id);
        assert!(matches!(said[..], [Said::Http(101, _)]), "{said:?}");
        id
    }

    /// As [`World::upgraded`], where more may follow the upgrade at once.
    #[track_caller]
    pub(crate) fn upgraded_and_more(&mut self, head: &str) -> ConnectionId {
        let id = self.accept().expect("there is room");
        self.send(id, head.as_bytes());
        let peer = self.peers.get_mut(&id).expect("a connection");
        let heard = String::from_utf8_lossy(&peer.heard);
        let end = heard.find("\r\n\r\n").expect("an answer") + 4;
        assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
        peer.heard.drain(..end);
        peer.is_upgraded = true;
        id
    }

    /// A STOMP session without heart-beats.
    #[track_caller]
    pub(crate) fn session(&mut self) -> ConnectionId {
        self.session_with(UPGRADE, "0,0").0
    }

    /// A STOMP session that wishes these heart-beats, and its CONNECTED.
    #[track_caller]
    pub(crate) fn session_with(&mut self, head: &str, beats: &str) -> (ConnectionId, Frame) {
        let id = self.upgraded(head);
        self.frame(id, "CONNECT", &format!("accept-version:1.2\nheart-beat:{beats}\n"), b"");
        let connected = self.only_frame(id);
        assert_eq!(connected.command, "CONNECTED");
        (id, connected)
    }

    /// A session that subscribes to `destination` as `s`.
    #[track_caller]
    pub(crate) fn subscriber(&mut self, destination: &str) -> ConnectionId {
        let id = self.session();
        self.frame(id, "SUBSCRIBE", &format!("id:s\ndestination:{destination}\n"), b"");
        id
    }

    /// The peer sends one STOMP frame as one text message.
    pub(crate) fn frame(&mut self, id: ConnectionId, command: &str, lines: &str, body: &[u8]) {
        self.send(id, &wire::text(&wire::stomp(command, lines, body)));
    }

    /// The peer sends `body` to `destination`.
    pub(crate) fn publish(&mut self, id: ConnectionId, destination: &str, body: &[u8]) {
        let lines = format!("destination:{destination}\ncontent-length:{}\n", body.len());
        self.frame(id, "SEND", &lines, body);
    }

    /// The peer ends the closing handshake as it should: its close frame, then the end.
    #[track_caller]
    pub(crate) fn leave(&mut self, id: ConnectionId, code: u16) {
        self.send(id, &wire::close(code));
        assert!(self.is_write_ended(id), "the server ends its side first (RFC 6455 §7.1.1)");
        self.hang_up(id);
    }

    /// What the peer has heard since it was last asked.
    #[track_caller]
    pub(crate) fn said(&mut self, id: ConnectionId) -> Vec<Said> {
        let peer = self.peers.get_mut(&id).expect("a connection");
        let mut is_http = !peer.is_upgraded;
        let said = wire::read(&mut peer.heard, &mut is_http);
        peer.is_upgraded = !is_http;
        said
    }

    /// The STOMP frames that the peer has heard, when it heard nothing else.
    #[track_caller]
    pub(crate) fn frames(&mut self, id: ConnectionId) -> Vec<Frame> {
        let of = |said| {
            let Said::Stomp(frame) = said else { panic!("no STOMP frame: {said:?}") };
            frame
        };
        self.said(id).into_iter().map(of).collect()
    }

    /// The one STOMP frame that the peer has heard.
    #[track_caller]
    pub(crate) fn only_frame(&mut self, id: ConnectionId) -> Frame {
        let mut frames = self.frames(id);
        assert!(frames.len() == 1, "not one frame: {frames:?}");
        frames.remove(0)
    }

    /// The bodies of the MESSAGEs that the peer has heard, when it heard nothing else.
    #[track_caller]
    pub(crate) fn bodies(&mut self, id: ConnectionId) -> Vec<String> {
        let frames = self.frames(id);
        assert!(frames.iter().all(|it| it.command == "MESSAGE"), "{frames:?}");
        frames.iter().map(|it| it.text().to_owned()).collect()
    }

    /// The code of the close frame that the peer has heard last, and what it heard before it.
    #[track_caller]
    pub(crate) fn closed(&mut self, id: ConnectionId) -> (u16, Vec<Said>) {
        let mut said = self.said(id);
        match said.pop() {
            Some(Said::Close(code, _)) => (code, said),
            other => panic!("no close frame at the end: {said:?} {other:?}"),
        }
    }

    /// Asserts that the server has missed the peer's heart-beats: 1002, with at most one ERROR.
    #[track_caller]
    pub(crate) fn assert_given_up(&mut self, id: ConnectionId) {
        let (code, said) = self.closed(id);
        let is_error = |it: &Said| matches!(it, Said::Stomp(it) if it.command == "ERROR");
        assert!(code == 1002 && said.len() < 2 && said.iter().all(is_error), "{code} {said:?}");
    }

    /// Asserts that a session works: its receipt comes at once, and nothing else.
    #[track_caller]
    pub(crate) fn assert_open(&mut self, id: ConnectionId) {
        self.frame(id, "UNSUBSCRIBE", "id:nothing\nreceipt:still-here\n", b"");
        let receipt = self.only_frame(id);
        assert_eq!((&*receipt.command, &*receipt.head), ("RECEIPT", "receipt-id:still-here"));
    }

    /// Asserts that a session works though messages came in between.
    #[track_caller]
    pub(crate) fn assert_open_after_messages(&mut self, id: ConnectionId) {
        self.bodies(id);
        self.assert_open(id);
    }

    /// Asserts that a frame with this receipt was refused for this reason, and no more.
    #[track_caller]
    pub(crate) fn assert_refused(&mut self, id: ConnectionId, receipt: &str, code: &str) {
        let error = self.only_frame(id);
        let found = (&*error.command, error.header("message"), error.header("receipt-id"));
        assert_eq!(found, ("ERROR", code, receipt));
        assert!(!error.body.is_empty(), "the body says what to do");
    }

    /// Asserts that the peer has heard these receipts, and no more.
    #[track_caller]
    pub(crate) fn assert_receipts(&mut self, id: ConnectionId, expected: &[&str]) {
        let frames = self.frames(id);
        assert!(frames.iter().all(|it| it.command == "RECEIPT"), "{frames:?}");
        let found: Vec<_> = frames.iter().map(|it| it.header("receipt-id")).collect();
        assert_eq!(found, expected);
    }

    /// A destination whose home is the other shard of a world of two.
    #[track_caller]
    pub(crate) fn remote_destination(&mut self) -> String {
        self.destination(true)
    }

    /// A destination whose home is this shard of a world of two.
    #[track_caller]
    pub(crate) fn local_destination(&mut self) -> String {
        self.destination(false)
    }

    #[track_caller]
    fn destination(&mut self, is_remote: bool) -> String {
        let probe = self.session();
        let mut names = (0..64).map(|number| format!("/topic/probed.{number}"));
        let found = names.find(|name| {
            self.publish(probe, name, b"");
            self.mail.pop_back().is_some() == is_remote
        });
        self.hang_up(probe);
        found.expect("homes are spread")
    }
}
