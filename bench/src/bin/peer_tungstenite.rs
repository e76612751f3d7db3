//! The server Ringway is compared with: broadcast and echo on tokio-tungstenite.
//!
//! A client that says `subscribe` is answered `subscribed` and gets every other text message of
//! every other client, through a queue per connection; a task
//! that wakes up writes all that is queued and flushes once. `/echo` returns what it gets. It holds
//! no STOMP, no limits and no clean end: it stands for what a user would write in an afternoon,
//! with the settings that make it fast.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use clap::Parser;
use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Message;
use tungstenite::Utf8Bytes;
use tungstenite::handshake::server::ErrorResponse;
use tungstenite::handshake::server::Request;
use tungstenite::handshake::server::Response;
use tungstenite::protocol::WebSocketConfig;

use ringway_bench::peer;
use ringway_bench::peer::Room;

/// The default of 128 KiB is filled with zeros on every read and costs three times as much.
const BUFFER_BYTES: usize = 4096;

/// A minimal WebSocket broadcast server on tokio-tungstenite, to compare others with.
#[derive(Debug, Parser)]
#[command(
    name = "peer-tungstenite",
    version = concat!(env!("CARGO_PKG_VERSION"), " (tokio-tungstenite 0.30)")
)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// CPU that the server may run on.
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,
    /// Read and write buffer of a connection, in bytes.
    #[arg(long, default_value_t = BUFFER_BYTES, value_name = "BYTES")]
    buffer_bytes: usize,
    /// Certificate chain (PEM), to serve TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// A connection, bare or with TLS.
trait Socket: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.pin {
        ringway_bench::cpu::pin(&[cpu])?;
    }
    peer::runtime()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let listener = peer::listen(arguments.listen)?;
    let tls = arguments.tls_cert.zip(arguments.tls_key);
    let tls = tls.map(|(certificate, key)| acceptor(&certificate, &key)).transpose()?;
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    writeln!(std::io::stdout(), "listening on {scheme}://{}/", listener.local_addr()?)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(arguments.buffer_bytes)
        .write_buffer_size(arguments.buffer_bytes);
    let room = Rc::new(Room::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (room, tls) = (Rc::clone(&room), tls.clone());
                drop(tokio::task::spawn_local(async move {
                    stream.set_nodelay(true).unwrap_or_default();
                    match tls {
                        None => connection(stream, config, room).await,
                        // Boxed: a plain connection shall not have room for what TLS needs.
                        Some(tls) => match Box::pin(tls.accept(stream)).await {
                            Ok(stream) => Box::pin(connection(stream, config, room)).await,
                            Err(error) => eprintln!("a TLS handshake failed: {error}"),
                        },
                    }
                }));
            }
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(Arc::new(config).into())
}

async fn connection<S: Socket>(stream: S, config: WebSocketConfig, room: Rc<Room<Utf8Bytes>>) {
    // Boxed: what the upgrade needs is given back after it.
    let ended = match Box::pin(greet(stream, config)).await {
        Ok((socket, true)) => echo(socket).await,
        Ok((socket, false)) => listener(socket, &room).await,
        Err(error) => Err(error),
    };
    use tungstenite::Error::{AlreadyClosed, ConnectionClosed, Io, Protocol};
    match ended {
        // How clients usually leave.
        Ok(()) | Err(ConnectionClosed | AlreadyClosed | Io(_) | Protocol(_)) => {}
        Err(error) => eprintln!("a connection ended: {error}"),
    }
}

/// Answers the upgrade; the flag says whether the client asked for the echo.
async fn greet<S: Socket>(
    stream: S,
    config: WebSocketConfig,
) -> tungstenite::Result<(WebSocketStream<S>, bool)> {
    let mut is_echo = false;
    #[expect(clippy::result_large_err, reason = "the library wants this type")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        is_echo = request.uri().path() == "/echo";
        Ok(response)
    };
    let socket =
        tokio_tungstenite::accept_hdr_async_with_config(stream, look, Some(config)).await?;
    Ok((socket, is_echo))
}

async fn echo<S: Socket>(mut socket: WebSocketStream<S>) -> tungstenite::Result<()> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// A client of the room, at first without a subscription.
async fn listener<S: Socket>(
    mut socket: WebSocketStream<S>,
    room: &Room<Utf8Bytes>,
) -> tungstenite::Result<()> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) if text == "subscribe" => {
                let (number, queue) = room.enter();
                socket.send(Message::Text("subscribed".into())).await?;
                let ended = subscriber(socket, number, queue, room).await;
                room.leave(number);
                return ended;
            }
            Message::Text(text) => room.broadcast(None, &text),
            Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Close(_)
            | Message::Frame(_) => {}
        }
    }
    Ok(())
}

async fn subscriber<S: Socket>(
    mut socket: WebSocketStream<S>,
    number: u64,
    mut queue: mpsc::Receiver<Utf8Bytes>,
    room: &Room<Utf8Bytes>,
) -> tungstenite::Result<()> {
    loop {
        tokio::select! {
            // In order: a random choice would cost a little and change nothing.
            biased;
            Some(text) = queue.recv() => {
                socket.feed(Message::Text(text)).await?;
                while let Ok(text) = queue.try_recv() {
                    socket.feed(Message::Text(text)).await?;
                }
                socket.flush().await?;
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => room.broadcast(Some(number), &text),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}
