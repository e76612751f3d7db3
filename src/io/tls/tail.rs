//! Bytes of records, or of handshake messages, that have not come whole.

/// Bytes before a record's payload (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;

/// Input that has to wait for more of it.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
    /// Where the record that has not come whole begins, or the next one will; as far as it was
    /// looked for.
    pub(super) record_at: usize,
}

impl Tail {
    /// Whether the last record has come whole. The end of a record is known once its head is.
    pub(super) fn ends_with_record(&self) -> bool {
        self.record_at == self.bytes.len()
    }

    /// How many bytes it has to grow by, at least one, before it may end with another record. What
    /// was walked over once is not walked over again: a peer may send many small records.
    pub(super) fn missing_bytes(&mut self) -> usize {
        loop {
            if self.bytes.len() < self.record_at {
                return self.record_at - self.bytes.len();
            }
            let record = self.bytes.get(self.record_at..).unwrap_or(&[]);
            let record_bytes = match record {
                [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                _ => return RECORD_HEADER_BYTES - record.len(),
            };
            self.record_at += RECORD_HEADER_BYTES + record_bytes;
        }
    }
}
