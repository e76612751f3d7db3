//! Which slot of a cluster a key or a sharded channel belongs to.

use std::sync::OnceLock;

use memchr::memchr;

/// Slots of a cluster ("Redis cluster specification", "Key distribution model").
pub const SLOTS_COUNT: u16 = 16_384;

/// CRC-16 of each byte: polynomial 0x1021, from zero, most significant bit first (the same
/// specification's appendix).
const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let mut rest = byte << 8;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 0x8000 == 0 { rest << 1 } else { (rest << 1) ^ 0x1021 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "at compile time, below 256")]
        {
            table[byte as usize] = rest;
        }
        byte += 1;
    }
    table
}

/// The slot of `key`. Where it has a `{`, and a `}` not directly behind it, only what stands
/// between the first such two counts ("Hash tags").
#[must_use]
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS_COUNT
}

/// A short text whose slot is `slot`, always the same: a hash tag for what belongs to no key.
///
/// # Panics
///
/// For a number that is no slot.
#[must_use]
pub fn tag_of(slot: u16) -> &'static str {
    static TAGS: OnceLock<Vec<String>> = OnceLock::new();
    let tags = TAGS.get_or_init(|| {
        let mut tags = vec![String::new(); usize::from(SLOTS_COUNT)];
        let mut missing_count = tags.len();
        for number in 0_u32.. {
            let tag = number.to_string();
            let place = tags.get_mut(usize::from(slot_of(tag.as_bytes())));
            if let Some(place) = place.filter(|it| it.is_empty()) {
                *place = tag;
                missing_count -= 1;
            }
            if missing_count == 0 {
                break;
            }
        }
        tags
    });
    tags.get(usize::from(slot)).expect("it is a slot")
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let rest = key.get(memchr(b'{', key)? + 1..)?;
    let tag = rest.get(..memchr(b'}', rest)?)?;
    (!tag.is_empty()).then_some(tag)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, _] = crc.to_be_bytes();
        let step = TABLE.get(usize::from(high ^ byte)).copied().unwrap_or_default();
        (crc << 8) ^ step
    })
}

#[cfg(test)]
mod tests {
    use super::crc16;
    use super::slot_of;

    #[test]
    fn the_check_value_of_the_specification_holds() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b""), 0);
        // As `CLUSTER KEYSLOT` answers.
        assert_eq!(slot_of(b"somekey"), 11_058);
        assert_eq!(slot_of(b"foo{hash_tag}"), 2515);
        assert_eq!(slot_of(b"bar{hash_tag}"), 2515);
    }

    #[test]
    fn each_slot_has_a_tag() {
        for slot in 0..super::SLOTS_COUNT {
            assert_eq!(slot_of(super::tag_of(slot).as_bytes()), slot);
        }
    }

    #[test]
    fn only_the_first_tag_that_is_not_empty_counts() {
        let is_same = |one: &[u8], other: &[u8]| slot_of(one) == slot_of(other);
        assert!(is_same(b"{user1000}.following", b"{user1000}.followers"));
        assert!(is_same(b"foo{{bar}}zap", b"{bar"));
        assert!(is_same(b"foo{bar}{zap}", b"bar"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % 16_384);
        assert_eq!(slot_of(b"}foo{"), crc16(b"}foo{") % 16_384);
    }
}
