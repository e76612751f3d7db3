//! The same server as `peer-tungstenite`, on fastwebsockets.
//!
//! Frames that wait for a connection go through one buffer and leave in one write: the library
//! itself writes each at once, which costs a system call for each.

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context as _;
use clap::Parser;
use fastwebsockets::Frame;
use fastwebsockets::OpCode;
use fastwebsockets::Payload;
use fastwebsockets::Role;
use fastwebsockets::WebSocketRead;
use fastwebsockets::WebSocketWrite;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufWriter;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tungstenite::handshake::derive_accept_key;

use ringway_bench::peer;
use ringway_bench::peer::Room;

/// The longest request that is waited for.
const HEAD_BYTES_MAX: usize = 8192;

/// A minimal WebSocket broadcast server on fastwebsockets, to compare others with.
#[derive(Debug, Parser)]
#[command(
    name = "peer-fastwebsockets",
    version = concat!(env!("CARGO_PKG_VERSION"), " (fastwebsockets 0.10)")
)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Write buffer of a connection, in bytes.
    #[arg(long, default_value_t = 4096, value_name = "BYTES")]
    buffer_bytes: usize,
}

type Text = Rc<[u8]>;
type Writer = WebSocketWrite<BufWriter<OwnedWriteHalf>>;

fn main() -> anyhow::Result<()> {
    peer::runtime()?.block_on(serve(Arguments::parse()))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let listener = peer::listen(arguments.listen)?;
    writeln!(std::io::stdout(), "listening on {}", listener.local_addr()?)?;
    let room = Rc::new(Room::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let room = Rc::clone(&room);
                drop(tokio::task::spawn_local(async move {
                    // How clients usually leave is no news.
                    drop(connection(stream, arguments.buffer_bytes, room).await);
                }));
            }
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    buffer_bytes: usize,
    room: Rc<Room<Text>>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let is_echo = greet(&mut stream).await?;
    let (reader, writer) = stream.into_split();
    let writer = BufWriter::with_capacity(buffer_bytes, writer);
    let (reader, writer) = fastwebsockets::after_handshake_split(reader, writer, Role::Server);
    if is_echo { echo(reader, writer).await } else { listener(reader, writer, room).await }
}

/// Answers the upgrade; tells whether the client asked for the echo.
async fn greet(stream: &mut TcpStream) -> anyhow::Result<bool> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD_BYTES_MAX, "the request has no end");
        anyhow::ensure!(stream.read_buf(&mut head).await? != 0, "the client hung up");
    }
    let text = std::str::from_utf8(&head)?;
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value.trim())
    });
    let accept = derive_accept_key(key.context("no key")?.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(text.starts_with("GET /echo "))
}

/// The next text; `None` at the end.
async fn next(reader: &mut WebSocketRead<OwnedReadHalf>) -> anyhow::Result<Option<Text>> {
    loop {
        let frame = reader.read_frame(&mut |_| async { Ok::<(), std::io::Error>(()) }).await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => return Ok(Some(Rc::from(&frame.payload[..]))),
            OpCode::Close => return Ok(None),
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

async fn write(writer: &mut Writer, text: &[u8]) -> anyhow::Result<()> {
    Ok(writer.write_frame(Frame::text(Payload::Borrowed(text))).await?)
}

async fn echo(mut reader: WebSocketRead<OwnedReadHalf>, mut writer: Writer) -> anyhow::Result<()> {
    while let Some(text) = next(&mut reader).await? {
        write(&mut writer, &text).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// A client of the room, at first without a subscription.
async fn listener(
    mut reader: WebSocketRead<OwnedReadHalf>,
    mut writer: Writer,
    room: Rc<Room<Text>>,
) -> anyhow::Result<()> {
    while let Some(text) = next(&mut reader).await? {
        if &*text != b"subscribe" {
            room.broadcast(None, &text);
            continue;
        }
        let (number, mut queue) = room.enter();
        write(&mut writer, b"subscribed").await?;
        writer.flush().await?;
        drop(tokio::task::spawn_local(async move {
            while let Some(text) = queue.recv().await {
                write(&mut writer, &text).await?;
                while let Ok(text) = queue.try_recv() {
                    write(&mut writer, &text).await?;
                }
                writer.flush().await?;
            }
            anyhow::Ok(())
        }));
        let ended = relay(&mut reader, number, &room).await;
        room.leave(number);
        return ended;
    }
    Ok(())
}

async fn relay(
    reader: &mut WebSocketRead<OwnedReadHalf>,
    number: u64,
    room: &Room<Text>,
) -> anyhow::Result<()> {
    while let Some(text) = next(reader).await? {
        room.broadcast(Some(number), &text);
    }
    Ok(())
}
