//! A TCP proxy that can stall, cut what is open, and change where it leads.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// How often a pump looks whether it may go on: far shorter than any time that a test measures.
const LOOK: Duration = Duration::from_millis(2);

/// What the threads of one proxy share.
#[derive(Default)]
struct State {
    target: AtomicU16,
    is_stalled: AtomicBool,
    has_ended: AtomicBool,
    /// Rises with each cut; a connection lives as long as it is what it was.
    cuts_count: AtomicU64,
}

/// A running proxy. Dropping it cuts all connections.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts one that leads to `target`, a port of this host.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("a listener has an address").port();
        let state = Arc::new(State { target: target.into(), ..State::default() });
        let proxy = Self { port, state: Arc::clone(&state) };
        thread::spawn(move || accept(&listener, &state));
        proxy
    }

    /// The setting that points a server here.
    pub(crate) fn setting(&self) -> String {
        format!("relay.url=redis://127.0.0.1:{}", self.port)
    }

    /// From now on nothing passes and nobody is told; [`Proxy::resume`] lets it go on.
    pub(crate) fn stall(&self) {
        self.state.is_stalled.store(true, Ordering::SeqCst);
    }

    /// Ends a stall: what waited passes, in order.
    pub(crate) fn resume(&self) {
        self.state.is_stalled.store(false, Ordering::SeqCst);
    }

    /// Ends what is open, and loses what was on its way.
    pub(crate) fn cut(&self) {
        self.state.cuts_count.fetch_add(1, Ordering::SeqCst);
    }

    /// Leads new connections to another port, as a name that moved does.
    pub(crate) fn lead_to(&self, target: u16) {
        self.state.target.store(target, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        self.cut();
        self.resume();
        // Wakes the thread that accepts; when nobody listens any more, it has ended already.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for client in listener.incoming() {
        while state.is_stalled.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
        if state.has_ended.load(Ordering::SeqCst) {
            return;
        }
        let cuts_count = state.cuts_count.load(Ordering::SeqCst);
        let target = ("127.0.0.1", state.target.load(Ordering::SeqCst));
        let Ok(client) = client else { continue };
        let Ok(server) = TcpStream::connect(target) else { continue };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a fresh socket takes options");
            stream.set_read_timeout(Some(LOOK)).expect("a fresh socket takes options");
        }
        let copies = (client.try_clone(), server.try_clone());
        let (Ok(client_copy), Ok(server_copy)) = copies else { continue };
        for (from, to) in [(client, server_copy), (server, client_copy)] {
            let state = Arc::clone(state);
            thread::spawn(move || pump(from, to, &state, cuts_count));
        }
    }
}

/// Carries bytes one way until an end, an error, or a cut.
fn pump(mut from: TcpStream, mut to: TcpStream, state: &State, cuts_count: u64) {
    let is_cut = || state.cuts_count.load(Ordering::SeqCst) != cuts_count;
    let mut buffer = vec![0; 64 << 10];
    while !is_cut() {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                continue;
            }
            Err(_) => break,
        };
        // After the read: what was written once the stall had begun must not pass.
        while state.is_stalled.load(Ordering::SeqCst) && !is_cut() {
            thread::sleep(LOOK);
        }
        if is_cut() || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either side may have ended already; then there is nothing left to shut down.
    for stream in [&from, &to] {
        drop(stream.shutdown(Shutdown::Both));
    }
}
