//! A STOMP client that says exactly what it is told and keeps apart what comes back.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use rustls::ClientConnection;
use rustls::StreamOwned;
use tungstenite::Error;
use tungstenite::Message;
use tungstenite::WebSocket;
use tungstenite::client::ClientRequestBuilder;

use super::Server;

/// The bytes that the one-line notation stands for: `|` is a line end, `^@` is NUL.
pub(crate) fn bytes(notation: &str) -> Vec<u8> {
    notation.replace("^@", "\0").replace('|', "\n").into_bytes()
}

/// One frame from the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The command, as sent.
    pub(crate) command: String,
    /// The headers in order, escapes left as sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The bytes between the header block and the final NUL.
    pub(crate) body: Vec<u8>,
    /// Whether it came in a binary WebSocket message.
    pub(crate) binary: bool,
}

impl Frame {
    /// Reads the one frame that a message must hold, to its last byte.
    #[track_caller]
    pub(crate) fn parse(message: &[u8], binary: bool) -> Self {
        let shown = String::from_utf8_lossy(message);
        let whole = message.strip_suffix(b"\0");
        let whole = whole.unwrap_or_else(|| panic!("does not end in NUL: {shown:?}"));
        let end = whole.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = whole.split_at(end.unwrap_or_else(|| panic!("no head: {shown:?}")));
        let head = std::str::from_utf8(head).expect("heads are UTF-8");
        let mut lines = head.split('\n');
        let command = lines.next().expect("a split has a first part").to_owned();
        let headers = lines
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let frame = Self { command, headers, body: body[2..].to_vec(), binary };
        frame.assert_clean();
        frame
    }

    /// The first value of the header called `name`; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether there is a header called `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(key, _)| key == name)
    }

    /// The body as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("this body is text")
    }

    /// What every frame of the server owes: no header empty, its own ones once, the body's length.
    #[track_caller]
    fn assert_clean(&self) {
        for (index, (name, value)) in self.headers.iter().enumerate() {
            assert!(!value.is_empty(), "header {name} is empty in {self:?}");
            let earlier = self.headers[..index].iter().any(|(key, _)| key == name);
            // A sender's own header may come twice; the first counts (STOMP 1.2, "Repeated Header
            // Entries"). Tests call theirs x-something.
            assert!(!earlier || name.starts_with('x'), "header {name} comes twice in {self:?}");
        }
        if matches!(self.command.as_str(), "MESSAGE" | "ERROR") {
            assert_eq!(self.header("content-length"), self.body.len().to_string(), "{self:?}");
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.command)?;
        for (name, value) in &self.headers {
            write!(out, "|{name}:{value}")?;
        }
        write!(out, "||{}^@", String::from_utf8_lossy(&self.body))
    }
}

/// What a client speaks over.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A client on one connection.
///
/// A MESSAGE and an answer to a command may overtake each other, so each kind waits in a queue of
/// its own until it is asked for.
pub(crate) struct Client {
    socket: WebSocket<Wire>,
    messages: VecDeque<Frame>,
    answers: VecDeque<Frame>,
    closed: Option<u16>,
    reason: String,
    receipts_count: u32,
}

impl Client {
    /// Upgrades and says nothing yet.
    pub(crate) fn open(server: &Server) -> Self {
        Self::open_at(server, "/ws")
    }

    /// Upgrades at `path`.
    pub(crate) fn open_at(server: &Server, path: &str) -> Self {
        Self::over(server, Wire::Plain(server.connect()), path)
    }

    /// Upgrades `path` over a connection that was made some way.
    pub(crate) fn over(server: &Server, wire: Wire, path: &str) -> Self {
        let uri = format!("ws://{}{path}", server.public).parse().expect("an address is a URI");
        let mut request = ClientRequestBuilder::new(uri);
        if path == "/ws" {
            request = request.with_sub_protocol("v12.stomp");
        }
        let (socket, _) = tungstenite::client(request, wire).expect("the server upgrades");
        let (messages, answers) = (VecDeque::new(), VecDeque::new());
        let reason = String::new();
        Self { socket, messages, answers, closed: None, reason, receipts_count: 0 }
    }

    /// A session of the user called `login`, speaking 1.2 without heart-beats.
    #[track_caller]
    pub(crate) fn session(server: &Server, login: &str) -> Self {
        let mut client = Self::open(server);
        let connected = client.connect(&format!("accept-version:1.2|login:{login}"));
        assert_eq!(connected.header("version"), "1.2", "{connected:?}");
        client
    }

    /// Sends CONNECT with `headers` and returns the CONNECTED that must follow.
    #[track_caller]
    pub(crate) fn connect(&mut self, headers: &str) -> Frame {
        self.send(&format!("CONNECT|{headers}||^@"));
        let connected = self.answer();
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        connected
    }

    /// Sends one text message, given in the notation.
    #[track_caller]
    pub(crate) fn send(&mut self, notation: &str) {
        let text = String::from_utf8(bytes(notation)).expect("a str stays UTF-8");
        self.socket.send(Message::text(text)).expect("the connection is open");
    }

    /// Sends one binary message.
    #[track_caller]
    pub(crate) fn send_binary(&mut self, message: &[u8]) {
        self.socket.send(Message::binary(message.to_vec())).expect("the connection is open");
    }

    /// Sends a frame that asks for a receipt, and returns the answer that names it.
    ///
    /// `command` is a command and its headers in the notation, without the empty line.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, body: &str) -> Frame {
        self.receipts_count += 1;
        let receipt = format!("r{}", self.receipts_count);
        self.send(&format!("{command}|receipt:{receipt}||{body}^@"));
        let answer = self.answer();
        assert_eq!(answer.header("receipt-id"), receipt, "{answer:?}");
        answer
    }

    /// As [`Client::ask`], for what must be granted.
    #[track_caller]
    pub(crate) fn granted(&mut self, command: &str, body: &str) -> Frame {
        let answer = self.ask(command, body);
        assert_eq!(answer.command, "RECEIPT", "{answer:?}");
        answer
    }

    /// As [`Client::ask`], for what must be refused while the connection stays open.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: &str, body: &str) -> Frame {
        let answer = self.ask(command, body);
        assert_eq!(answer.command, "ERROR", "{answer:?}");
        assert!(answer.has("message"), "{answer:?}");
        self.assert_open();
        answer
    }

    /// Subscribes and waits until the server confirms it.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, id: &str, destination: &str) {
        self.granted(&format!("SUBSCRIBE|id:{id}|destination:{destination}"), "");
    }

    /// Ends a subscription and waits until the server confirms it.
    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, id: &str) {
        self.granted(&format!("UNSUBSCRIBE|id:{id}"), "");
    }

    /// Publishes a text and waits until the relay has it.
    #[track_caller]
    pub(crate) fn publish(&mut self, destination: &str, body: &str) {
        self.granted(&format!("SEND|destination:{destination}"), body);
    }

    /// The next MESSAGE.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Frame {
        while self.messages.is_empty() {
            self.pump();
        }
        self.messages.pop_front().expect("the loop above waits for one")
    }

    /// The next MESSAGE, which must be for the subscription `id` and hold `body`.
    #[track_caller]
    pub(crate) fn expect(&mut self, id: &str, body: &str) {
        let message = self.message();
        assert_eq!((message.header("subscription"), message.text()), (id, body), "{message:?}");
    }

    /// The next frame that is not a MESSAGE.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Frame {
        while self.answers.is_empty() {
            self.pump();
        }
        self.answers.pop_front().expect("the loop above waits for one")
    }

    /// Asserts that the server still serves this connection and has no unread answer for it.
    #[track_caller]
    pub(crate) fn assert_open(&mut self) {
        self.granted("UNSUBSCRIBE|id:never-used", "");
        assert_eq!(self.answers, [], "nothing else was asked");
    }

    /// Waits for the close frame, before which no further answer may come, and for the end of the
    /// stream; returns the code.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> u16 {
        loop {
            assert_eq!(self.answers, [], "nothing may come before the close");
            if let Some(code) = self.closed {
                // Reading on sends our half of the closing handshake.
                let end = self.socket.read().expect_err("nothing follows a close frame");
                let timed_out = matches!(&end, Error::Io(it) if it.kind() == ErrorKind::WouldBlock);
                assert!(!timed_out, "the server keeps the socket open after its close frame");
                return code;
            }
            self.read();
        }
    }

    /// As [`Client::closed`], with the reason that was given.
    #[track_caller]
    pub(crate) fn closed_with(&mut self) -> (u16, String) {
        (self.closed(), std::mem::take(&mut self.reason))
    }

    /// All that is answered until the server closes, and the code of that.
    #[track_caller]
    pub(crate) fn until_closed(&mut self) -> (Vec<Frame>, u16) {
        while self.closed.is_none() {
            self.read();
        }
        (self.answers.drain(..).collect(), self.closed())
    }

    /// Sends what a server that still serves this connection answers, and reads what comes of it.
    #[track_caller]
    pub(crate) fn is_served(&mut self, notation: &str) -> bool {
        self.send(notation);
        while self.closed.is_none() && self.answers.iter().all(|it| it.command == "ERROR") {
            self.read();
        }
        self.answers.clear();
        self.closed.is_none()
    }

    /// Waits for the one ERROR that comes before a close with `code`.
    #[track_caller]
    pub(crate) fn error_then_close(&mut self, code: u16) -> Frame {
        let error = self.answer();
        assert_eq!(error.command, "ERROR", "{error:?}");
        assert!(error.has("message"), "{error:?}");
        assert_eq!(self.closed(), code, "{error:?}");
        error
    }

    /// The next WebSocket message or control frame, unread by this client.
    #[track_caller]
    pub(crate) fn websocket_message(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.expect("a message comes"),
            }
        }
    }

    /// The socket below, for bytes that no client would send.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        match self.socket.get_mut() {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &mut stream.sock,
        }
    }

    /// Writes bytes below the WebSocket layer.
    #[track_caller]
    pub(crate) fn write_raw(&mut self, raw: &[u8]) {
        self.stream().write_all(raw).expect("the connection is open");
    }

    /// Reads once more, from a server that has not closed.
    #[track_caller]
    fn pump(&mut self) {
        assert_eq!(self.closed, None, "closed; unread: {:?} {:?}", self.messages, self.answers);
        self.read();
    }

    #[track_caller]
    fn read(&mut self) {
        let (message, binary) = match self.socket.read() {
            Ok(Message::Text(text)) => (text.as_bytes().to_vec(), false),
            Ok(Message::Binary(message)) => (message.to_vec(), true),
            Ok(Message::Close(Some(close))) => {
                self.closed = Some(close.code.into());
                self.reason = close.reason.to_string();
                return;
            }
            Ok(Message::Close(None)) => panic!("a close frame of the server carries a code"),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return,
            Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => return,
            Err(Error::Io(error)) => panic!("nothing more came: {error}"),
            Err(error) => panic!("the server broke off: {error}"),
        };
        if message == b"\n" {
            return;
        }
        let frame = Frame::parse(&message, binary);
        match frame.command.as_str() {
            "MESSAGE" => self.messages.push_back(frame),
            _ => self.answers.push_back(frame),
        }
    }
}
