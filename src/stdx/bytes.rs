//! Bytes on their way to sockets: encoded once, shared by every outbox that waits to send them.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Counts the bytes that the [`Shared`] values made with it hold, each once however often shared,
/// and those that it is told of.
#[derive(Clone, Debug, Default)]
pub struct Meter(Rc<Cell<usize>>);

impl Meter {
    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.get()
    }

    /// Counts `after` bytes that somebody else keeps, where `before` were counted.
    pub fn recount(&self, before: usize, after: usize) {
        self.add(after);
        self.subtract(before);
    }

    fn add(&self, bytes: usize) {
        self.0.set(self.0.get() + bytes);
    }

    fn subtract(&self, bytes: usize) {
        assert!(bytes <= self.0.get());
        self.0.set(self.0.get() - bytes);
    }
}

/// An immutable run of bytes with a fixed address, shared within one shard without atomics.
///
/// Cloning shares. What it holds is freed, and taken off its [`Meter`], with the last clone.
#[derive(Clone)]
pub struct Shared(Rc<Inner>);

struct Inner {
    bytes: Storage,
    meter: Meter,
}

enum Storage {
    Owned(Box<[u8]>),
    /// A body that several shards send; every shard counts it once.
    Body(Arc<[u8]>),
}

impl Shared {
    /// Takes over `bytes`.
    #[must_use]
    pub fn new(bytes: Vec<u8>, meter: &Meter) -> Self {
        Self::with(Storage::Owned(bytes.into_boxed_slice()), meter)
    }

    /// Shares a body that other shards may hold too.
    #[must_use]
    pub fn from_body(body: Arc<[u8]>, meter: &Meter) -> Self {
        Self::with(Storage::Body(body), meter)
    }

    fn with(bytes: Storage, meter: &Meter) -> Self {
        let inner = Inner { bytes, meter: meter.clone() };
        inner.meter.add(inner.as_slice().len());
        Self(Rc::new(inner))
    }

    /// The bytes; their address is the same for the whole life of every clone.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Whether it is a body, which belongs to the head in front of it.
    #[must_use]
    pub fn is_body(&self) -> bool {
        matches!(self.0.bytes, Storage::Body(_))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Shared").field(&self.len()).finish()
    }
}

impl Inner {
    fn as_slice(&self) -> &[u8] {
        match &self.bytes {
            Storage::Owned(bytes) => bytes,
            Storage::Body(bytes) => bytes,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.meter.subtract(self.as_slice().len());
    }
}

/// What one send gives to the kernel: never empty.
#[derive(Debug)]
pub enum Batch {
    /// The rest of one run of bytes, from the offset on: nothing is copied.
    One(Shared, usize),
    /// Several small runs, copied together so that they leave as one.
    Copied(Vec<u8>),
    /// Several runs that are too large to copy, and the offset in the first.
    Gathered(Vec<Shared>, usize),
}

impl Batch {
    /// How many bytes it has to send.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::One(bytes, offset) => bytes.len() - offset,
            Self::Copied(bytes) => bytes.len(),
            Self::Gathered(runs, offset) => runs.iter().map(Shared::len).sum::<usize>() - offset,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its runs in order, the first without what the offset leaves out.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (runs, copied, offset): (&[Shared], &[u8], usize) = match self {
            Self::One(bytes, offset) => (std::slice::from_ref(bytes), &[], *offset),
            Self::Copied(bytes) => (&[], bytes, 0),
            Self::Gathered(runs, offset) => (runs, &[], *offset),
        };
        let runs = runs.iter().enumerate().map(move |(index, run)| {
            if index == 0 { run.as_slice().get(offset..).unwrap_or(&[]) } else { run.as_slice() }
        });
        runs.chain((!copied.is_empty()).then_some(copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_counts_shared_bytes_once_until_the_last_clone_goes() {
        let meter = Meter::default();
        let one = Shared::new(vec![1; 10], &meter);
        let two = one.clone();
        let body = Shared::from_body(Arc::from(&[2_u8; 5][..]), &meter);
        assert_eq!(meter.bytes(), 15);
        drop(one);
        assert_eq!(meter.bytes(), 15);
        drop((two, body));
        assert_eq!(meter.bytes(), 0);
        meter.recount(0, 7);
        meter.recount(7, 3);
        assert_eq!(meter.bytes(), 3);
        meter.recount(3, 0);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn a_batch_gives_its_bytes_in_order_from_the_offset_on() {
        let meter = Meter::default();
        let run = |text: &str| Shared::new(text.as_bytes().to_vec(), &meter);
        let check = |batch: Batch, expected: &str| {
            let bytes: Vec<u8> = batch.slices().flatten().copied().collect();
            assert_eq!(bytes, expected.as_bytes());
            assert_eq!(batch.len(), expected.len());
        };
        check(Batch::One(run("abc"), 1), "bc");
        check(Batch::Copied(b"xyz".to_vec()), "xyz");
        check(Batch::Gathered(vec![run("abc"), run("d"), run("ef")], 2), "cdef");
    }
}
