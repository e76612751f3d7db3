//! A STOMP server of some lines that can be told to misbehave, to see whether the tool notices.

use std::cell::Cell;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;

use ringway_bench::stomp::Frame;
use ringway_bench::stomp::Inbound;

/// What the server does wrong, once, with delivery number 5.
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

const FAULTY: usize = 5;

struct Broker {
    fault: Fault,
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
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let address = listener.local_addr().expect("a bound listener has an address");
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime can be built");
        runtime.block_on(accept(listener, fault));
    };
    std::thread::Builder::new().spawn(serve).expect("a thread can be started");
    address
}

async fn accept(listener: std::net::TcpListener, fault: Fault) {
    let listener = TcpListener::from_std(listener).expect("the listener is non-blocking");
    let broker = Rc::new(Broker {
        fault,
        subscribers: RefCell::default(),
        deliveries_count: Cell::new(0),
        sends_count: Cell::new(0),
    });
    while let Ok((stream, _)) = listener.accept().await {
        let broker = Rc::clone(&broker);
        drop(tokio::task::spawn_local(async move {
            // How a session ends is for the client to judge.
            drop(session(stream, &broker).await);
        }));
    }
}

async fn session(stream: TcpStream, broker: &Broker) -> tungstenite::Result<()> {
    let mut socket: WebSocketStream<TcpStream> = tokio_tungstenite::accept_async(stream).await?;
    let (sender, mut queue) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            biased;
            Some(message) = queue.recv() => socket.send(message).await?,
            received = socket.next() => match received {
                Some(Ok(Message::Text(text))) => broker.handle(text.as_bytes(), &sender),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

impl Broker {
    fn handle(&self, message: &[u8], answers: &mpsc::UnboundedSender<Message>) {
        let Ok(Inbound::Frame(frame)) = Inbound::parse(message) else { return };
        let header = |name| frame.header(name).map(|it| String::from_utf8_lossy(it).into_owned());
        let answer = |text: String| drop(answers.send(Message::text(text)));
        match frame.command {
            b"CONNECT" => answer("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0".to_owned()),
            b"SUBSCRIBE" => self.subscribers.borrow_mut().push(Subscriber {
                destination: header("destination").unwrap_or_default(),
                queue: answers.clone(),
                held: None,
            }),
            b"SEND" => {
                let number = self.sends_count.replace(self.sends_count.get() + 1);
                if self.fault == Fault::Refuse && number == FAULTY {
                    let receipt = header("receipt").unwrap_or_default();
                    return answer(format!("ERROR\nreceipt-id:{receipt}\nmessage:no\n\n\0"));
                }
                let destination = header("destination").unwrap_or_default();
                self.deliver(&destination.replace("/app/", "/topic/"), frame);
            }
            _ => {}
        }
        if let Some(receipt) = header("receipt") {
            answer(format!("RECEIPT\nreceipt-id:{receipt}\n\n\0"));
        }
    }

    fn deliver(&self, destination: &str, frame: Frame<'_>) {
        let head = format!(
            "MESSAGE\ndestination:{destination}\nsubscription:0\nmessage-id:1\n\
             content-length:{}\n\n",
            frame.body.len()
        );
        let text = [head.as_bytes(), frame.body, b"\0"].concat();
        let text = Message::text(String::from_utf8(text).expect("the tool sends UTF-8"));
        let mut subscribers = self.subscribers.borrow_mut();
        for subscriber in subscribers.iter_mut().filter(|it| it.destination == destination) {
            let number = self.deliveries_count.replace(self.deliveries_count.get() + 1);
            let fault = if number == FAULTY { self.fault } else { Fault::None };
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
