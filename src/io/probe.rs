//! Which driver this host allows, found out by doing with it what the server will do.

use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use monoio::io::AsyncWriteRent;

use crate::io::ring;

/// Longest wait for the answer of a ring that was set up and then says nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How the kernel is asked for input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Operations and completions over shared rings.
    IoUring,
    /// Readiness, then system calls.
    Epoll,
}

impl Driver {
    /// The name in configuration, health and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Why io_uring is not available here.
#[derive(Debug)]
pub struct Unavailable {
    /// What was tried when it failed.
    pub step: &'static str,
    /// The kernel's answer.
    pub error: io::Error,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
                ": blocked by a seccomp profile or by kernel.io_uring_disabled"
            }
            Some(rustix::io::Errno::NOSYS) => ": the kernel, or its sandbox, has no io_uring",
            Some(rustix::io::Errno::INVAL) => ": the kernel is too old for an operation we use",
            Some(rustix::io::Errno::NOMEM) => ": RLIMIT_MEMLOCK is too small for the rings",
            _ => "",
        };
        write!(formatter, "{}: {}{why}", self.step, self.error)
    }
}

/// Sets `count` rings up as the shards would, all at once, and waits and sends through one.
///
/// # Errors
///
/// Whatever the kernel answered: EPERM, EACCES, ENOSYS, EINVAL and ENOMEM are how hosts say no.
pub fn try_io_uring(entries: u32, count: usize) -> Result<(), Unavailable> {
    let (sender, receiver) = mpsc::channel();
    // The runtime is bound to its thread, and a ring that never answers must not hold the start.
    #[expect(clippy::disallowed_methods, reason = "ends at once; named below")]
    let spawned = thread::Builder::new().name("ringway-probe".to_owned()).spawn(move || {
        // Nobody listens any more only after the time-out; then there is nobody to tell.
        drop(sender.send(exercise(entries, count)));
    });
    spawned.map_err(|error| Unavailable { step: "start of the probe's thread", error })?;
    receiver.recv_timeout(ANSWER_TIMEOUT).unwrap_or_else(|_| {
        let error = io::Error::from(io::ErrorKind::TimedOut);
        Err(Unavailable { step: "first completion", error })
    })
}

fn exercise(entries: u32, count: usize) -> Result<(), Unavailable> {
    let at = |step| move |error| Unavailable { step, error };
    let build = |_| ring::build(entries).map_err(at("io_uring_setup"));
    // Old kernels charge ring memory to RLIMIT_MEMLOCK: one ring may fit where all do not.
    let mut runtimes = (0..count).map(build).collect::<Result<Vec<_>, _>>()?;
    let runtime =
        runtimes.first_mut().ok_or_else(|| at("no ring")(io::ErrorKind::InvalidInput.into()))?;
    let (mut ours, theirs) = UnixStream::pair().map_err(at("socketpair"))?;
    ours.write_all(b"?").map_err(at("write"))?;
    runtime.block_on(async move {
        let mut socket =
            monoio::net::UnixStream::from_std(theirs).map_err(at("hand-over of a socket"))?;
        socket.readable(false).await.map_err(at("IORING_OP_POLL_ADD"))?;
        let (sent, _) = socket.write(vec![b'!']).await;
        let sent_bytes = sent.map_err(at("IORING_OP_SEND"))?;
        let mut answer = [0; 1];
        ours.read_exact(&mut answer).map_err(at("read"))?;
        assert!(sent_bytes == 1 && answer == *b"!");
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_step_and_what_to_look_at() {
        let refused = |errno: rustix::io::Errno| {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            Unavailable { step: "io_uring_setup", error }.to_string()
        };
        assert!(refused(rustix::io::Errno::PERM).contains("seccomp"));
        assert!(refused(rustix::io::Errno::NOSYS).contains("no io_uring"));
        assert!(refused(rustix::io::Errno::NOMEM).contains("RLIMIT_MEMLOCK"));
        assert!(refused(rustix::io::Errno::PERM).starts_with("io_uring_setup: "));
    }
}
