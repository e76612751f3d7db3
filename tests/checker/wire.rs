//! A connection that may end at any time, and the state that all clients of a run share.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tungstenite::Error;
use tungstenite::Message;
use tungstenite::WebSocket;
use tungstenite::client::ClientRequestBuilder;

use super::record::Micros;
use super::record::Place;
use crate::support::Frame;

/// How long a client reads before it looks at anything else.
const LOOK: Duration = Duration::from_millis(4);
/// How long a server that accepts may take for the first answers.
const OPENING: Duration = Duration::from_secs(5);

/// What the clients of a run know of it, and of each other.
pub(crate) struct Shared {
    began: Instant,
    deadline: Instant,
    /// Where each task listens; 0 while it does not.
    ports: Vec<AtomicU16>,
    /// Messages that have a RECEIPT.
    pub(crate) acknowledged: AtomicUsize,
    /// How many messages each sender may say now.
    pub(crate) allowed: AtomicUsize,
    /// Subscriptions that were confirmed.
    pub(crate) confirmed: AtomicUsize,
    has_ended: AtomicBool,
}

impl Shared {
    /// A run on so many tasks, which may last so long.
    pub(crate) fn new(tasks_count: usize, lasts: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            deadline: began + lasts,
            ports: (0..tasks_count).map(|_| AtomicU16::new(0)).collect(),
            acknowledged: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            confirmed: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).expect("a run is short")
    }

    /// Whether clients have to give up what they are at.
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst) || self.deadline < Instant::now()
    }

    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn tasks_count(&self) -> usize {
        self.ports.len()
    }

    /// A task listens here, or nowhere any more.
    pub(crate) fn move_task(&self, task: usize, to: Option<SocketAddr>) {
        self.ports[task].store(to.map_or(0, |it| it.port()), Ordering::SeqCst);
    }

    /// The address of this task, or of another one that is there.
    fn address(&self, task: usize) -> Option<SocketAddr> {
        let count = self.ports.len();
        let mut ports = (0..count).map(|it| self.ports[(task + it) % count].load(Ordering::SeqCst));
        let port = ports.find(|port| *port != 0)?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// What a connection gives.
pub(crate) enum Got {
    Frame(Frame),
    Nothing,
    Ended,
}

/// A STOMP session that may end at any time.
pub(crate) struct Link(WebSocket<TcpStream>);

impl Link {
    /// A session of `login` at this task or another one; none when there is none just now.
    pub(crate) fn open(shared: &Shared, task: usize, login: &str) -> Option<Self> {
        let address = shared.address(task)?;
        let stream = TcpStream::connect_timeout(&address, OPENING).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(OPENING)).ok()?;
        stream.set_write_timeout(Some(OPENING)).ok()?;
        let uri = format!("ws://{address}/ws").parse().expect("an address is a URI");
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("v12.stomp");
        let (socket, _) = tungstenite::client(request, stream).ok()?;
        let mut link = Self(socket);
        link.say(format!("CONNECT\naccept-version:1.2\nlogin:{login}\n\n\0")).ok()?;
        let Got::Frame(connected) = link.hear() else { return None };
        assert_eq!(connected.command, "CONNECTED", "{connected:?}");
        link.0.get_mut().set_read_timeout(Some(LOOK)).ok()?;
        Some(link)
    }

    /// Sends one frame; an error when the connection has ended.
    pub(crate) fn say(&mut self, frame: String) -> Result<(), ()> {
        self.0.send(Message::text(frame)).map_err(|_| ())
    }

    /// The next frame, waiting for it a little.
    pub(crate) fn hear(&mut self) -> Got {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) if text.as_str() == "\n" => {}
                Ok(Message::Text(text)) => return Got::Frame(Frame::parse(text.as_bytes(), false)),
                Ok(Message::Binary(bytes)) => return Got::Frame(Frame::parse(&bytes, true)),
                Ok(Message::Close(_)) => return Got::Ended,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    return Got::Nothing;
                }
                Err(_) => return Got::Ended,
            }
        }
    }
}

/// Epoch and number of a frame, when it has both.
pub(crate) fn place(frame: &Frame) -> Option<Place> {
    let number = |name: &str| frame.header(name).parse().ok();
    Some(Place { epoch: number("epoch")?, seq: number("seq")? })
}
