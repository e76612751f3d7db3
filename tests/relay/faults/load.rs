//! Clients that send and listen all the time, on threads of their own.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use tungstenite::Error;
use tungstenite::Message;
use tungstenite::WebSocket;
use tungstenite::client::ClientRequestBuilder;

use super::judge::Answer;
use super::judge::Id;
use super::judge::Sent;
use crate::support::PATIENCE;

/// Between two SENDs of one client.
const PAUSE: Duration = Duration::from_millis(4);

/// A client with more unanswered SENDs waits: below what the server allows.
const UNANSWERED_MAX: usize = 500;

/// What one client did and got.
pub(super) struct Account {
    /// Its SENDs, in order.
    pub(super) sent: Vec<Sent>,
    /// What its subscription brought, in order.
    pub(super) heard: Vec<Id>,
}

/// Clients at work: each sends to the room and is subscribed to it.
pub(super) struct Load {
    threads: Vec<JoinHandle<Account>>,
    is_sending: Arc<AtomicBool>,
    has_ended: Arc<AtomicBool>,
    accepted: Vec<Arc<AtomicU32>>,
    settled: Vec<Arc<AtomicBool>>,
}

impl Load {
    /// Starts one client per address; each is subscribed before this returns.
    pub(super) fn start(addresses: &[SocketAddr], room: &str) -> Self {
        let is_sending = Arc::new(AtomicBool::new(true));
        let has_ended = Arc::new(AtomicBool::new(false));
        let (mut threads, mut accepted, mut settled) = (Vec::new(), Vec::new(), Vec::new());
        let clients: Vec<Client> = (0..)
            .zip(addresses)
            .map(|(sender, address)| Client::connect(*address, sender, room))
            .collect();
        for client in clients {
            accepted.push(Arc::clone(&client.accepted_count));
            settled.push(Arc::clone(&client.is_settled));
            let (sending, ended) = (Arc::clone(&is_sending), Arc::clone(&has_ended));
            threads.push(thread::spawn(move || client.run(&sending, &ended)));
        }
        Self { threads, is_sending, has_ended, accepted, settled }
    }

    /// Waits until each client had `count` more RECEIPTs than now.
    #[track_caller]
    pub(super) fn await_accepted(&self, count: u32) {
        let look = |it: &Arc<AtomicU32>| it.load(Ordering::Relaxed);
        let goals: Vec<u32> = self.accepted.iter().map(|it| look(it) + count).collect();
        crate::world::await_true("the load to go on", || {
            assert!(self.threads.iter().all(|it| !it.is_finished()), "a client was cut off");
            self.accepted.iter().zip(&goals).all(|(it, goal)| *goal <= look(it))
        });
    }

    /// Lets the clients send no more, waits until all is answered, and until each heard all that
    /// `fence` sends behind it; returns their accounts.
    pub(super) fn finish(self, fence: impl FnOnce()) -> Vec<Account> {
        self.is_sending.store(false, Ordering::SeqCst);
        // What is missing after that, the judge will say.
        let deadline = Instant::now() + PATIENCE;
        while !self.settled.iter().all(|it| it.load(Ordering::SeqCst)) && Instant::now() < deadline
        {
            thread::sleep(PAUSE);
        }
        fence();
        self.has_ended.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|it| it.join().expect("no client was cut off")).collect()
    }
}

struct Client {
    socket: WebSocket<TcpStream>,
    sender: u32,
    room: String,
    sent: Vec<Sent>,
    unanswered: HashMap<u32, usize>,
    heard: Vec<Id>,
    has_heard_fence: bool,
    accepted_count: Arc<AtomicU32>,
    /// It sends no more, and all is answered.
    is_settled: Arc<AtomicBool>,
}

/// The body that tells a client that it has heard all.
pub(super) const FENCE: &str = "fence";

impl Client {
    fn connect(address: SocketAddr, sender: u32, room: &str) -> Self {
        let uri = format!("ws://{address}/ws").parse().expect("an address is a URI");
        let request = ClientRequestBuilder::new(uri).with_sub_protocol("v12.stomp");
        let stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_read_timeout(Some(PATIENCE)).expect("a fresh socket takes options");
        let (mut socket, _) = tungstenite::client(request, stream).expect("the server upgrades");
        let mut say = |frame: String| {
            socket.send(Message::text(frame)).expect("the connection is open");
        };
        say(format!("CONNECT\naccept-version:1.2\nlogin:load-{sender}\n\n\0"));
        say(format!("SUBSCRIBE\nid:room\ndestination:/topic/{room}\nreceipt:subscribed\n\n\0"));
        loop {
            let message = socket.read().expect("CONNECTED and RECEIPT come");
            let text = message.to_text().expect("answers are text");
            assert!(!text.starts_with("ERROR"), "{text}");
            if text.starts_with("RECEIPT") {
                break;
            }
        }
        let stream = socket.get_mut();
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("an open socket does");
        Self {
            socket,
            sender,
            room: room.to_owned(),
            sent: Vec::new(),
            unanswered: HashMap::new(),
            heard: Vec::new(),
            has_heard_fence: false,
            accepted_count: Arc::default(),
            is_settled: Arc::default(),
        }
    }

    fn run(mut self, is_sending: &AtomicBool, has_ended: &AtomicBool) -> Account {
        let mut next = Instant::now();
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if !is_sending.load(Ordering::SeqCst) {
                self.is_settled.store(self.unanswered.is_empty(), Ordering::SeqCst);
            } else if next <= now {
                next = now + PAUSE;
                self.send(now);
            }
            self.read();
            if has_ended.load(Ordering::SeqCst) {
                if self.unanswered.is_empty() && self.has_heard_fence {
                    break;
                }
                // Who judges says what is missing.
                if *deadline.get_or_insert(now + PATIENCE) < now {
                    break;
                }
            }
        }
        Account { sent: self.sent, heard: self.heard }
    }

    fn send(&mut self, at: Instant) {
        if UNANSWERED_MAX <= self.unanswered.len() {
            return;
        }
        let number = u32::try_from(self.sent.len()).expect("a test is short");
        let id = Id { sender: self.sender, number };
        let (room, sender) = (&self.room, self.sender);
        let frame =
            format!("SEND\ndestination:/topic/{room}\nreceipt:{number}\n\n{sender} {number}\0");
        self.socket.send(Message::text(frame)).expect("the server keeps the connection");
        self.unanswered.insert(number, self.sent.len());
        self.sent.push(Sent { id, at, answer: Answer::Missing });
    }

    /// Reads what is there.
    fn read(&mut self) {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    return;
                }
                Err(error) => panic!("load-{} was cut off: {error}", self.sender),
            };
            let Message::Text(text) = &message else {
                assert!(!message.is_close(), "load-{} was closed: {message:?}", self.sender);
                continue;
            };
            self.take(text.trim_end_matches(['\0', '\n']));
        }
    }

    fn take(&mut self, frame: &str) {
        let (head, body) = frame.split_once("\n\n").unwrap_or((frame, ""));
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        match head.lines().next() {
            Some("MESSAGE") if body == FENCE => self.has_heard_fence = true,
            Some("MESSAGE") => {
                let (sender, number) = body.split_once(' ').expect("the load's own bodies");
                let parse = |text: &str| text.parse().expect("the load's own bodies");
                self.heard.push(Id { sender: parse(sender), number: parse(number) });
            }
            Some("RECEIPT") => {
                self.answer(header("receipt-id"), Answer::Accepted(Instant::now()));
                self.accepted_count.fetch_add(1, Ordering::Relaxed);
            }
            Some("ERROR") => {
                let code = header("message").unwrap_or_default().to_owned();
                self.answer(header("receipt-id"), Answer::Refused(code));
            }
            Some(_) | None => panic!("the server said {frame:?}"),
        }
    }

    fn answer(&mut self, receipt: Option<&str>, answer: Answer) {
        let number = receipt.and_then(|it| it.parse().ok()).expect("answers name their SEND");
        let place = self.unanswered.remove(&number).expect("a SEND is answered once");
        self.sent[place].answer = answer;
    }
}
