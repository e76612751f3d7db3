//! The thin layer between a [`Shard`] and the kernel: one monoio runtime; with io_uring one task
//! per connection, with epoll one for all (`polled`).
//!
//! A turn: readers that woke hand their bytes to the shard; the first output wakes the flush task,
//! whose place in the queue is behind them; it sends once per dirty connection.

use std::cell::Cell;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;
use monoio::net::TcpListener;

use crate::io::clock;
use crate::io::clock::Clock;
use crate::io::poller::Poller;
use crate::io::probe::Driver;
use crate::io::socket::Socket;
use crate::metrics::health::Phase;
use crate::shard::connection::ConnectionId;
use crate::shard::link;
use crate::shard::link::Links;
use crate::shard::load::Load;
use crate::shard::mailbox::Mailboxes;
use crate::shard::secure;
use crate::shard::secure::Certificates;
use crate::shard::secure::Secure;
use crate::shard::state::Identity;
use crate::shard::state::Options;
use crate::shard::state::Shard;
use crate::shard::state::TICK;
use crate::shard::tasks::Notify;
use crate::shard::tasks::Turns;
use crate::shard::tasks::yield_once;
use crate::stdx::time::Now;

/// Bytes of the one receive buffer of a shard.
pub(super) const RECEIVE_BYTES: usize = 64 * 1024;
/// Receives in a row after which a busy connection lets the others go on.
const RECEIVES_IN_A_ROW_MAX: u32 = 4;
/// What a shard's thread brings to its runtime.
#[derive(Debug)]
pub struct Setup {
    /// What the shard is told; looked at each tick, so that it may be told something else.
    pub options: Arc<ArcSwap<Options>>,
    /// Who it is.
    pub identity: Identity,
    /// Its listener.
    pub listener: std::net::TcpListener,
    /// Its mailboxes.
    pub mailboxes: Mailboxes,
    /// The clock of the process.
    pub clock: Clock,
    /// How sends leave.
    pub driver: Driver,
    /// How the relay's links connect, where it has any.
    pub links: Option<link::Options>,
    /// What the listener shows, where it speaks TLS.
    pub certificates: Option<Certificates>,
}

/// One running shard, shared by its tasks.
pub(super) struct Core {
    pub(super) shard: RefCell<Shard>,
    /// By the index of the connection, with its whole id: an index lives on in a later connection.
    pub(super) sockets: RefCell<Vec<Option<Owned>>>,
    pub(super) mailboxes: RefCell<Mailboxes>,
    /// To Redis.
    pub(super) links: Option<Rc<Links>>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    pub(super) clock: Clock,
    unix_start_ms: Cell<u64>,
    /// The clock as it was read last.
    pub(super) recent: Cell<Now>,
    /// The sockets' readiness, with the epoll driver.
    pub(super) poller: Option<RefCell<Poller>>,
    /// TLS, where the listener speaks it.
    pub(super) secure: Option<secure::Listener>,
    pub(super) flush: Notify,
    /// CONNECTs wait for their turn.
    pub(super) waiting: Notify,
    /// More newcomers wait in the kernel's queue than were taken in one turn.
    pub(super) is_crowded: Cell<bool>,
    /// Operators wait for answers.
    pub(super) asked: Notify,
    /// Readers that wait for credit.
    pub(super) starved: RefCell<Vec<Waker>>,
    load: RefCell<Load>,
    pub(super) options: Arc<ArcSwap<Options>>,
}

/// A socket and whose it is.
#[derive(Clone)]
pub(super) struct Owned {
    pub(super) id: ConnectionId,
    pub(super) socket: Rc<Socket>,
    /// Its last send found no room; a poller tells when there is some.
    pub(super) awaits_room: bool,
    /// It waits for its share of receiving; with a poller.
    pub(super) is_queued: bool,
    /// Its end was told with an edge; with a poller.
    pub(super) has_ended: bool,
    /// Its TLS, where the listener speaks it.
    pub(super) secure: Option<Rc<Secure>>,
}

/// Runs a shard until it has drained; `on_started` is called once it serves.
///
/// # Errors
///
/// When the listener cannot be taken over by the runtime.
pub async fn run(setup: Setup, on_started: impl FnOnce()) -> io::Result<()> {
    let Setup { options, identity, listener, mailboxes, clock, driver, links, .. } = setup;
    let health = Arc::clone(&identity.health);
    let shard = Shard::new(options.load_full(), identity);
    let more = listener.try_clone()?;
    let listener = TcpListener::from_std(listener)?;
    let core = Rc::new(Core {
        shard: RefCell::new(shard),
        sockets: RefCell::default(),
        mailboxes: RefCell::new(mailboxes),
        links: links.map(|options| Rc::new(Links::new(options, clock))),
        buffer: RefCell::new(vec![0; RECEIVE_BYTES].into_boxed_slice()),
        clock,
        unix_start_ms: Cell::new(clock.unix_start_ms()),
        recent: Cell::new(clock.now(clock.unix_start_ms())),
        poller: match driver {
            Driver::IoUring => None,
            Driver::Epoll => Some(RefCell::new(Poller::new()?)),
        },
        secure: setup.certificates.map(secure::Listener::new),
        flush: Notify::default(),
        waiting: Notify::default(),
        is_crowded: Cell::new(false),
        asked: Notify::default(),
        starved: RefCell::default(),
        load: RefCell::default(),
        options,
    });
    monoio::spawn(Rc::clone(&core).accept_all(listener, more));
    monoio::spawn(Rc::clone(&core).flush_all());
    monoio::spawn(Rc::clone(&core).take_mail());
    monoio::spawn(Rc::clone(&core).admit_all());
    monoio::spawn(Rc::clone(&core).answer_all());
    match core.poller {
        Some(_) => drop(monoio::spawn(Rc::clone(&core).poll_all())),
        None => drop(monoio::spawn(Rc::clone(&core).shake_all())),
    }
    // The relay has asked for its links already.
    core.flush.notify();
    health.shard_started();
    on_started();
    while health.phase() != Phase::Draining {
        core.tick_after(TICK).await;
    }
    core.end(&health).await;
    // The tasks that still wait hold the core and each other: nothing of it is dropped by itself.
    core.mailboxes.borrow_mut().end_history(&mut core.shard.borrow_mut());
    health.shard_stopped();
    Ok(())
}

impl Core {
    /// One connection's reader: holds no buffer while it waits.
    ///
    /// Not an `async fn`: that would keep its arguments twice, for every idle connection.
    #[expect(clippy::manual_async_fn, reason = "it takes less memory")]
    pub(super) fn read_all(self: Rc<Self>, owned: Owned) -> impl Future<Output = ()> {
        async move {
            let mut receives_count = 0;
            while owned.socket.readable().await.is_ok() {
                let received = match &owned.secure {
                    Some(secure) if secure.is_handshaking() => {
                        self.receive_in_turn(&owned, secure).await
                    }
                    Some(_) | None => {
                        self.credit().await;
                        self.receive(&owned)
                    }
                };
                match received {
                    Ok(0) => break,
                    Ok(_) => {
                        receives_count += 1;
                        if self.read_pause(owned.id).is_some() {
                            // Seldom, and large: boxed, so that no idle connection has room for it.
                            Box::pin(self.pause_reading(owned.id)).await;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => receives_count = 0,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
                if receives_count == RECEIVES_IN_A_ROW_MAX {
                    receives_count = 0;
                    yield_once().await;
                }
            }
            self.close(&owned);
        }
    }

    /// Forgets a connection whose stream has ended or failed.
    pub(super) fn close(self: &Rc<Self>, owned: &Owned) {
        if let Some(entry) = self.sockets.borrow_mut().get_mut(owned.id.index())
            && entry.as_ref().is_some_and(|it| it.id == owned.id)
        {
            *entry = None;
        }
        if let Some(secure) = &owned.secure {
            secure.say_last(owned, None);
        }
        // What the peer could not take any more is failed before the descriptor is given up.
        owned.socket.shutdown();
        self.shard.borrow_mut().handle_closed(self.now(), owned.id);
        self.notify();
    }

    /// Receives once and hands the bytes to the shard; fewer than [`RECEIVE_BYTES`] are all there
    /// is.
    pub(super) fn receive(self: &Rc<Self>, owned: &Owned) -> io::Result<usize> {
        let mut buffer = self.buffer.borrow_mut();
        let received_bytes = owned.socket.try_receive(&mut buffer)?;
        let received = &mut buffer[..received_bytes];
        match &owned.secure {
            Some(secure) if 0 < received_bytes => self.receive_secure(owned, secure, received),
            None if 0 < received_bytes => {
                self.take(owned.id, received);
                Ok(received_bytes)
            }
            Some(_) | None => Ok(0),
        }
    }

    /// How long the connection is not to be read.
    pub(super) fn read_pause(&self, id: ConnectionId) -> Option<Duration> {
        self.shard.borrow().read_pause(self.recent.get(), id)
    }

    /// Waits until the connection may be read.
    pub(super) async fn pause_reading(&self, id: ConnectionId) {
        while let Some(pause) = self.read_pause(id) {
            monoio::time::sleep(pause).await;
            // The time of the last event may be long ago.
            self.now();
        }
    }

    pub(super) fn take(self: &Rc<Self>, id: ConnectionId, bytes: &mut [u8]) {
        let now = self.now();
        let mut shard = self.shard.borrow_mut();
        shard.handle_bytes(now, id, bytes);
        self.time_fan_out(now, &mut shard);
        drop(shard);
        self.notify();
    }

    /// Notes how long what was handed to the shard at `began` took to fan out.
    pub(super) fn time_fan_out(&self, began: Now, shard: &mut Shard) {
        if shard.has_fanned_out() {
            shard.handle_fan_out_end(began.instant, self.clock.instant());
        }
    }

    /// Waits while the shard has no credit.
    pub(super) async fn credit(&self) {
        poll_fn(|context| {
            if self.shard.borrow_mut().has_credit(self.recent.get().instant) {
                return Poll::Ready(());
            }
            self.starved.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    async fn take_mail(self: Rc<Self>) {
        let mut turns = Turns::new(self.clock);
        loop {
            let rung = poll_fn(|context| self.mailboxes.borrow().doorbell().poll_rung(context));
            turns.wait(rung).await;
            if self.take_mail_once() {
                // What was said leaves first: who reads it must not be taken for slow.
                turns.give_way().await;
            }
        }
    }

    /// Lets a tick pass, then does what is due.
    pub(super) async fn tick_after(&self, pause: Duration) {
        let due_at = self.clock.instant().after(pause);
        monoio::time::sleep(pause).await;
        self.unix_start_ms.set(self.clock.unix_start_ms());
        let now = self.now();
        let mut shard = self.shard.borrow_mut();
        shard.handle_options(&self.options.load());
        shard.handle_timer(now);
        let counters = shard.counters();
        counters.lag.observe(now.instant.since(due_at));
        self.load.borrow_mut().observe(now.instant, clock::thread_cpu(), counters);
        self.mailboxes.borrow().tell_outside(&mut shard);
        drop(shard);
        self.notify();
    }

    /// Reads the clock.
    pub(super) fn now(&self) -> Now {
        let now = self.clock.now(self.unix_start_ms.get());
        self.recent.set(now);
        now
    }

    /// Wakes the flush when the shard has put something out.
    pub(super) fn notify(&self) {
        let shard = self.shard.borrow();
        if shard.has_output() || !self.starved.borrow().is_empty() {
            self.flush.notify();
        }
        if shard.has_waiting(self.recent.get().instant) {
            self.waiting.notify();
        }
    }

    pub(super) fn owned(&self, id: ConnectionId) -> Option<Owned> {
        let sockets = self.sockets.borrow();
        let owned = sockets.get(id.index())?.as_ref()?;
        (owned.id == id).then(|| owned.clone())
    }
}
