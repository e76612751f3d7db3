//! Names to addresses, off the shards: one thread asks, shards wait without blocking.
//!
//! Nothing is remembered: each question is asked anew, so that a name that moves is followed with
//! the next attempt. Only questions for one name that wait together share one answer.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::Poll;

use atomic_waker::AtomicWaker;
use rtrb::Producer;
use rtrb::RingBuffer;

/// Questions that may wait for the thread; more are refused.
const QUESTIONS_MAX: usize = 256;

/// Finds the addresses of a host and a port; it may take its time, it has a thread of its own.
pub type Lookup = Box<dyn FnMut(&str, u16) -> io::Result<Vec<SocketAddr>> + Send>;

/// What the operating system answers.
#[must_use]
pub fn system() -> Lookup {
    Box::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// Asks the thread; each shard has a clone.
#[derive(Clone, Debug)]
pub struct Resolver {
    questions: mpsc::SyncSender<Question>,
}

/// The thread's side: `server` gives it a thread.
pub struct Worker {
    questions: mpsc::Receiver<Question>,
    lookup: Lookup,
}

#[derive(Debug)]
struct Question {
    host: Box<str>,
    port: u16,
    answer: Producer<io::Result<Vec<SocketAddr>>>,
    /// After `answer`, so that whoever is woken sees it answered or abandoned.
    _bell: Bell,
}

/// Wakes the one who asks when the question is gone, answered or not.
#[derive(Debug)]
struct Bell(Arc<AtomicWaker>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Resolver {
    /// A resolver and what its thread has to run.
    #[must_use]
    pub fn new(lookup: Lookup) -> (Self, Worker) {
        let (sender, questions) = mpsc::sync_channel(QUESTIONS_MAX);
        (Self { questions: sender }, Worker { questions, lookup })
    }

    /// The addresses of `host`, at least one, in the order of preference. An address that is
    /// written out (an IPv6 one with or without brackets) needs no thread. The future may be
    /// dropped at any time.
    ///
    /// # Errors
    ///
    /// When the name has no address, nobody could say, or too many questions wait.
    pub async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (answer, mut answers) = RingBuffer::new(1);
        let waker = Arc::new(AtomicWaker::new());
        let _bell = Bell(Arc::clone(&waker));
        let question = Question { host: host.into(), port, answer, _bell };
        self.questions.try_send(question).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => io::Error::other("too many names wait for an answer"),
            mpsc::TrySendError::Disconnected(_) => gone(),
        })?;
        poll_fn(|context| {
            waker.register(context.waker());
            // Looked at first: an answer is pushed before its producer goes.
            let is_abandoned = answers.is_abandoned();
            match answers.pop() {
                Ok(answer) => Poll::Ready(answer),
                Err(_) if is_abandoned => Poll::Ready(Err(gone())),
                Err(_) => Poll::Pending,
            }
        })
        .await
    }
}

impl Worker {
    /// Answers until no [`Resolver`] is left.
    pub fn run(mut self) {
        let mut waiting = Vec::new();
        while let Some(first) = waiting.pop().or_else(|| self.questions.recv().ok()) {
            waiting.extend(self.questions.try_iter());
            let (host, port) = (first.host.clone(), first.port);
            let answer = self.look_up(&host, port);
            // All of these were asked before the answer was looked for.
            let all = std::mem::take(&mut waiting);
            let (same, others) =
                all.into_iter().partition(|it: &Question| *it.host == *host && it.port == port);
            waiting = others;
            for question in std::iter::once(first).chain::<Vec<Question>>(same) {
                question.tell(&answer);
            }
        }
    }

    fn look_up(&mut self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = (self.lookup)(host, port)?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

impl Question {
    fn tell(mut self, answer: &io::Result<Vec<SocketAddr>>) {
        let answer = match answer {
            Ok(found) => Ok(found.clone()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        // The one place is free: a question is told once.
        let _told = self.answer.push(answer);
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that resolves names has ended")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 6379))
    }

    /// Runs `body` on a runtime of each driver, with a thread that answers by `lookup`.
    #[expect(clippy::disallowed_methods, reason = "the test is the server here")]
    fn on_both_drivers(lookup: fn() -> Lookup, body: impl AsyncFn(&Resolver)) {
        for is_ring in [true, false] {
            let (resolver, worker) = Resolver::new(lookup());
            let thread = thread::spawn(move || worker.run());
            if is_ring {
                let mut runtime = crate::io::ring::build(64).unwrap();
                runtime.block_on(body(&resolver));
            } else {
                let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
                let mut runtime = builder.enable_timer().build().unwrap();
                runtime.block_on(body(&resolver));
            }
            drop(resolver);
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_name_that_moves_is_followed_with_the_next_question() {
        let moving = || -> Lookup {
            let calls = Cell::new(0);
            Box::new(move |host, port| {
                assert_eq!((host, port), ("redis.test", 6379));
                calls.set(calls.get() + 1);
                match calls.get() {
                    1 => Ok(vec![address(1), address(2)]),
                    2 => Ok(Vec::new()),
                    3 => Err(io::Error::other("nobody answers")),
                    _ => Ok(vec![address(3)]),
                }
            })
        };
        on_both_drivers(moving, async |resolver| {
            let ask = async || resolver.resolve("redis.test", 6379).await;
            assert_eq!(ask().await.unwrap(), [address(1), address(2)]);
            assert_eq!(ask().await.unwrap_err().to_string(), "the name has no address");
            assert_eq!(ask().await.unwrap_err().to_string(), "nobody answers");
            assert_eq!(ask().await.unwrap(), [address(3)]);
        });
    }

    #[test]
    fn questions_that_wait_together_share_an_answer_and_a_dropped_one_harms_none() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        let slow = || -> Lookup {
            CALLS.store(0, Ordering::SeqCst);
            Box::new(|_, _| {
                CALLS.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(50));
                Ok(vec![address(1)])
            })
        };
        on_both_drivers(slow, async |resolver| {
            let short = Duration::from_millis(5);
            let first = monoio::time::timeout(short, resolver.resolve("redis.test", 6379)).await;
            assert!(first.is_err(), "nobody waits for a slow answer longer than it likes");
            let ask = || {
                let resolver = resolver.clone();
                monoio::spawn(async move { resolver.resolve("redis.test", 6379).await })
            };
            let all: Vec<_> = (0..8).map(|_| ask()).collect();
            for one in all {
                assert_eq!(one.await.unwrap(), [address(1)]);
            }
            assert_eq!(CALLS.load(Ordering::SeqCst), 2);
        });
    }

    #[test]
    fn a_written_address_needs_no_thread_and_a_name_without_one_says_so() {
        let (resolver, worker) = Resolver::new(system());
        drop(worker);
        let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
        let mut runtime = builder.enable_timer().build().unwrap();
        runtime.block_on(async {
            for host in ["127.0.0.1", "::1", "[::1]"] {
                let found = resolver.resolve(host, 1).await.unwrap();
                assert_eq!(found[0].ip().to_string(), host.trim_matches(['[', ']']));
            }
            let error = resolver.resolve("localhost", 1).await.unwrap_err();
            assert!(error.to_string().contains("has ended"), "{error}");
        });
    }

    #[test]
    fn more_questions_than_the_limit_are_refused_at_once() {
        let (resolver, worker) = Resolver::new(system());
        let builder = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new();
        let mut runtime = builder.enable_timer().build().unwrap();
        runtime.block_on(async {
            let ask = || {
                let resolver = resolver.clone();
                monoio::spawn(async move { resolver.resolve("redis.test", 6379).await })
            };
            let waiting: Vec<_> = (0..QUESTIONS_MAX).map(|_| ask()).collect();
            let error = ask().await.unwrap_err();
            assert!(error.to_string().contains("too many"), "{error}");
            // The thread dies with all questions unanswered.
            drop(worker);
            for one in waiting {
                assert!(one.await.unwrap_err().to_string().contains("has ended"));
            }
        });
    }
}
