//! The text in every message: who sent it, its number, and filler that shows a damaged byte.

use memchr::memmem::Finder;

/// Bytes of the stamp in front of the filler; no payload is smaller.
pub const STAMP_BYTES: usize = 26;

/// The largest number of a message.
pub const SEQUENCE_MAX: u64 = (1 << 40) - 1;

/// The stamp of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Tells the messages of this run from what an earlier one left behind.
    pub run: u32,
    /// Position of the sender, from 0.
    pub sender: u16,
    /// Position of the message among those of its sender to one destination, from 0.
    pub sequence: u64,
}

/// Makes and checks payloads of one size.
#[derive(Clone, Debug)]
pub struct Payloads {
    run: u32,
    run_finder: Finder<'static>,
    filler: Vec<u8>,
}

impl Payloads {
    /// Payloads of `payload_bytes` for one run.
    ///
    /// # Errors
    ///
    /// The size is below [`STAMP_BYTES`].
    pub fn new(run: u32, payload_bytes: usize) -> anyhow::Result<Self> {
        anyhow::ensure!(
            STAMP_BYTES <= payload_bytes,
            "a payload needs at least {STAMP_BYTES} bytes for its stamp"
        );
        let filler = (b'a'..=b'z').cycle().take(payload_bytes - STAMP_BYTES).collect();
        let mut run_digits = Vec::new();
        write_hex(u64::from(run), 8, &mut run_digits);
        Ok(Self { run, run_finder: Finder::new(&run_digits).into_owned(), filler })
    }

    /// Writes the payload of one message over `output`.
    pub fn write(&self, sender: u16, sequence: u64, output: &mut Vec<u8>) {
        output.clear();
        write_hex(u64::from(self.run), 8, output);
        write_hex(u64::from(sender), 4, output);
        write_hex(sequence, 12, output);
        output.extend_from_slice(b"##");
        output.extend_from_slice(&self.filler);
    }

    /// Every stamp in a text that holds payloads among other things; `None` for one that is not
    /// whole.
    pub fn find_all<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Option<Stamp>> + 'a {
        let whole_bytes = STAMP_BYTES + self.filler.len();
        let mut from = 0;
        std::iter::from_fn(move || {
            from += self.run_finder.find(text.get(from..)?)?;
            let whole = text[from..].get(..whole_bytes);
            from = whole.map_or(text.len(), |_| from + whole_bytes);
            Some(whole.and_then(|payload| self.read(payload)))
        })
    }

    /// Reads `payload`; `None` when it is not one of this run, of this size and whole.
    #[must_use]
    pub fn read(&self, payload: &[u8]) -> Option<Stamp> {
        let (stamp, filler) = payload.split_at_checked(STAMP_BYTES)?;
        let run = u32::try_from(read_hex(&stamp[..8])?).ok()?;
        let sender = u16::try_from(read_hex(&stamp[8..12])?).ok()?;
        let sequence = read_hex(&stamp[12..24])?;
        let is_whole = run == self.run && &stamp[24..] == b"##" && filler == self.filler;
        is_whole.then_some(Stamp { run, sender, sequence })
    }
}

fn write_hex(value: u64, digits: u32, output: &mut Vec<u8>) {
    for digit in (0..digits).rev() {
        let nibble = usize::try_from(value >> (4 * digit) & 0xf).unwrap_or_default();
        output.push(b"0123456789abcdef"[nibble]);
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_reads_back_and_has_its_size() {
        let payloads = Payloads::new(0xdead_beef, 200).unwrap();
        let mut bytes = Vec::new();
        for sequence in [0, 1, 0xffff, SEQUENCE_MAX] {
            payloads.write(3, sequence, &mut bytes);
            assert_eq!(bytes.len(), 200);
            let stamp = Stamp { run: 0xdead_beef, sender: 3, sequence };
            assert_eq!(payloads.read(&bytes), Some(stamp));
        }
    }

    #[test]
    fn payloads_are_found_wherever_they_stand_and_cut_ones_are_told() {
        let payloads = Payloads::new(0xdead_beef, 40).unwrap();
        let mut text = b"MSG r 1 40\r\n".to_vec();
        let mut one = Vec::new();
        for sequence in [5, 6] {
            payloads.write(1, sequence, &mut one);
            text.extend_from_slice(&one);
            text.extend_from_slice(b"\r\nMSG r 1 40\r\n");
        }
        text.extend_from_slice(&one[..39]);
        let found: Vec<_> = payloads.find_all(&text).map(|it| it.map(|it| it.sequence)).collect();
        assert_eq!(found, [Some(5), Some(6), None]);
        assert_eq!(payloads.find_all(b"nothing here").count(), 0);
    }

    #[test]
    fn every_changed_byte_and_every_other_size_is_seen() {
        let payloads = Payloads::new(1, 40).unwrap();
        let mut bytes = Vec::new();
        payloads.write(0, 0, &mut bytes);
        for index in (0..8).chain(24..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x40;
            assert_eq!(payloads.read(&damaged), None, "byte {index}");
        }
        assert_eq!(payloads.read(&bytes[..39]), None);
        assert_eq!(payloads.read(&[&bytes[..], b"x"].concat()), None);
        assert!(Payloads::new(1, STAMP_BYTES - 1).is_err());
        assert!(Payloads::new(1, STAMP_BYTES).is_ok());
    }
}
