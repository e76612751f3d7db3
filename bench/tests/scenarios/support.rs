//! A STOMP server of some lines that can be told to misbehave, to see whether the tool notices.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;

use ringway_bench::stomp::Inbound;

/// What the server does wrong, now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is not sent.
    Lose,
    /// It is sent twice.
    Double,
    /// It is sent after the next one for the same subscriber.
    Reorder,
    /// A byte of its body is another.
    Damage,
    /// The connection is closed instead.
    HangUp,
    /// The SEND behind it is answered with an ERROR.
    Refuse,
}

/// How often, and with which deliveries: number 5 and from there on every so many-th.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) fault: Fault,
    pub(crate) every: usize,
}

impl Manner {
    fn is_due(self, number: usize) -> bool {
        number % self.every == 5 % self.every
    }
}

/// Where the server listens.
pub(crate) struct Addresses {
    pub(crate) websocket: SocketAddr,
    /// Takes PUBLISH as Redis does, and gives what is published to the subscribers.
    pub(crate) redis: SocketAddr,
}

struct Broker {
    manner: Manner,
    /// What CONNECT must carry.
    token: Option<&'static str>,
    subscribers: RefCell<Vec<Subscriber>>,
    deliveries_count: Cell<usize>,
    sends_count: Cell<usize>,
}

struct Subscriber {
    destination: String,
    queue: mpsc::UnboundedSender<Message>,
    held: Option<Message>,
}

/// Starts the server on a thread that ends with the process.
#[expect(clippy::disallowed_methods, reason = "the server must run beside the client under test")]
pub(crate) fn start(
    manner: Manner,
    token: Option<&'static str>,
    tls: Option<TlsAcceptor>,
) -> Addresses {
    let (listener, websocket) = listen();
    let (redis_listener, redis) = listen();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime can be built");
        let broker = Rc::new(Broker {
            manner,
            token,
            subscribers: RefCell::default(),
            deliveries_count: Cell::new(0),
            sends_count: Cell::new(0),
        });
        runtime.block_on(async {
            drop(tokio::task::spawn_local(accept_redis(redis_listener, Rc::clone(&broker))));
            accept(listener, broker, tls).await;
        });
    };
    std::thread::Builder::new().spawn(serve).expect("a thread can be started");
    Addresses { websocket, redis }
}

fn listen() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let address = listener.local_addr().expect("a bound listener has an address");
    (listener, address)
}

async fn accept(listener: std::net::TcpListener, broker: Rc<Broker>, tls: Option<TlsAcceptor>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    while let Ok((stream, _)) = listener.accept().await {
        let (broker, tls) = (Rc::clone(&broker), tls.clone());
        drop(tokio::task::spawn_local(async move {
            // How a session ends is for the client to judge.
            match tls {
                None => drop(session(stream, &broker).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(session(stream, &broker).await);
                    }
                }
            }
        }));
    }
}

/// Understands PUBLISH with an envelope, and nothing else.
async fn accept_redis(listener: std::net::TcpListener, broker: Rc<Broker>) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    while let Ok((stream, _)) = listener.accept().await {
        let broker = Rc::clone(&broker);
        drop(tokio::task::spawn_local(async move {
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            let mut words: Vec<String> = Vec::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if !line.starts_with(['*', '$']) {
                    words.push(line);
                }
                if let [command, channel, envelope] = &words[..] {
                    assert_eq!(command, "PUBLISH");
                    let envelope: serde_json::Value =
                        serde_json::from_str(envelope).expect("an envelope is JSON");
                    let body = envelope["payload"].as_str().expect("a payload is text");
                    let destination = channel.strip_prefix("ws:").expect("a prefix of Ringway's");
                    assert_eq!(envelope["destination"], destination);
                    broker.deliver(destination, body.as_bytes());
                    words.clear();
                    if writer.write_all(b":1\r\n").await.is_err() {
                        return;
                    }
                }
            }
        }));
    }
}

async fn session<S>(stream: S, broker: &Broker) -> tungstenite::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket: WebSocketStream<S> = tokio_tungstenite::accept_async(stream).await?;
    let (sender, mut queue) = mpsc::unbounded_channel();
    let mut login = String::new();
    loop {
        tokio::select! {
            biased;
            Some(message) = queue.recv() => socket.send(message).await?,
            received = socket.next() => match received {
                Some(Ok(Message::Text(text))) => {
                    broker.handle(text.as_bytes(), &mut login, &sender);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

impl Broker {
    fn handle(&self, message: &[u8], login: &mut String, answers: &mpsc::UnboundedSender<Message>) {
        let Ok(Inbound::Frame(frame)) = Inbound::parse(message) else { return };
        let header = |name| frame.header(name).map(|it| String::from_utf8_lossy(it).into_owned());
        let answer = |text: String| drop(answers.send(Message::text(text)));
        match frame.command {
            b"CONNECT"
                if self.token.is_some_and(|it| header("Authorization").as_deref() != Some(it)) =>
            {
                answer("ERROR\nmessage:who are you?\n\n\0".to_owned());
            }
            b"CONNECT" => {
                *login = header("login").unwrap_or_default();
                answer("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0".to_owned());
            }
            b"SUBSCRIBE" => {
                let destination = header("destination").unwrap_or_default();
                let own = format!("/topic/private.{login}");
                self.subscribers.borrow_mut().push(Subscriber {
                    destination: destination.replace("/user/queue/private", &own),
                    queue: answers.clone(),
                    held: None,
                });
            }
            b"SEND" => {
                let number = self.sends_count.replace(self.sends_count.get() + 1);
                if self.manner.fault == Fault::Refuse && self.manner.is_due(number) {
                    let receipt = header("receipt").unwrap_or_default();
                    return answer(format!("ERROR\nreceipt-id:{receipt}\nmessage:no\n\n\0"));
                }
                let destination = header("destination").unwrap_or_default();
                self.deliver(&destination.replace("/app/", "/topic/"), frame.body);
            }
            _ => {}
        }
        if let Some(receipt) = header("receipt") {
            answer(format!("RECEIPT\nreceipt-id:{receipt}\n\n\0"));
        }
    }

    fn deliver(&self, destination: &str, body: &[u8]) {
        let head = format!(
            "MESSAGE\ndestination:{destination}\nsubscription:0\nmessage-id:1\n\
             content-length:{}\n\n",
            body.len()
        );
        let text = [head.as_bytes(), body, b"\0"].concat();
        let text = Message::text(String::from_utf8(text).expect("the tool sends UTF-8"));
        let mut subscribers = self.subscribers.borrow_mut();
        for subscriber in subscribers.iter_mut().filter(|it| it.destination == destination) {
            let number = self.deliveries_count.replace(self.deliveries_count.get() + 1);
            let is_due = self.manner.is_due(number);
            let fault = if is_due { self.manner.fault } else { Fault::None };
            let send = |message| drop(subscriber.queue.send(message));
            match fault {
                Fault::None | Fault::Refuse => send(text.clone()),
                Fault::Lose => {}
                Fault::Double => {
                    send(text.clone());
                    send(text.clone());
                }
                Fault::Reorder => subscriber.held = Some(text.clone()),
                Fault::Damage => {
                    let damaged = text.to_text().expect("it is text").replace("abc", "abx");
                    send(Message::text(damaged));
                }
                Fault::HangUp => send(Message::Close(None)),
            }
            if fault == Fault::None
                && let Some(held) = subscriber.held.take()
            {
                send(held);
            }
        }
    }
}
