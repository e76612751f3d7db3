//! What goes into one INSERT into MySQL: how many rows, and the values of each.

use std::sync::Arc;

use mysql_async::Value;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::history::row::headers_of;

/// Most rows of one INSERT; fewer go in powers of two, so that few statements are prepared.
pub(super) const ROWS_MAX: usize = 128;
/// Most bytes of one INSERT, below the server's usual `max_allowed_packet`.
const INSERT_BYTES_MAX: usize = 1 << 20;

/// How many go into the next INSERT: a power of two, within its bytes.
pub(super) fn rows_of(records: &[Arc<Publication>]) -> usize {
    let mut count = 1;
    let mut bytes = 0;
    for (at, record) in records.iter().take(ROWS_MAX).enumerate() {
        bytes += record.body().len() + 1024;
        if INSERT_BYTES_MAX < bytes {
            break;
        }
        if (at + 1).is_power_of_two() {
            count = at + 1;
        }
    }
    count
}

pub(super) fn row_of(record: &Publication) -> [Value; 9] {
    let Place { epoch, seq } = record.place().unwrap_or_default();
    let bytes = |it: &[u8]| Value::Bytes(it.to_vec());
    let maybe = |it: &Option<Box<str>>| it.as_ref().map_or(Value::NULL, |it| bytes(it.as_bytes()));
    [
        bytes(record.channel.as_bytes()),
        Value::UInt(epoch),
        Value::UInt(seq),
        bytes(record.message_id.as_bytes()),
        maybe(&record.sender),
        maybe(&record.content_type),
        headers_of(record).map_or(Value::NULL, Value::Bytes),
        bytes(record.body()),
        Value::UInt(record.timestamp_ms),
    ]
}

pub(super) fn key_of(record: &Publication) -> Option<[Value; 5]> {
    let key = record.history.as_ref()?.key.as_ref()?;
    let Place { epoch, seq } = record.place()?;
    Some([
        Value::Bytes(record.channel.as_bytes().to_vec()),
        Value::Bytes(key.as_bytes().to_vec()),
        Value::UInt(epoch),
        Value::UInt(seq),
        Value::UInt(record.timestamp_ms),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::store::tests::said;

    #[test]
    fn an_insert_has_a_power_of_two_of_rows_within_its_bytes() {
        let records: Vec<_> = (1..=300).map(|seq| said("/topic/a", 1, seq)).collect();
        let mut sizes = Vec::new();
        let mut rest = &records[..];
        while !rest.is_empty() {
            sizes.push(rows_of(rest));
            rest = &rest[rows_of(rest)..];
        }
        assert_eq!(sizes, [128, 128, 32, 8, 4]);
    }
}
