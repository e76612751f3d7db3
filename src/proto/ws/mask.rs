//! The XOR that clients put on their payloads (RFC 6455 §5.3).

/// Masks or unmasks `bytes`, whose first byte meets the first byte of `mask`.
///
/// Eight bytes at a time: the compiler makes vectors of it, and no unsafe cast is needed.
pub(super) fn apply(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The mask as the byte `passed_bytes` further on meets it.
pub(super) fn rotated(mut mask: [u8; 4], passed_bytes: usize) -> [u8; 4] {
    mask.rotate_left(passed_bytes % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_every_cut_agrees_with_the_definition() {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        for bytes in 0..40_u8 {
            let plain: Vec<u8> = (0..bytes).collect();
            let expected: Vec<u8> =
                plain.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            for cut in 0..=plain.len() {
                let mut masked = plain.clone();
                let (first, second) = masked.split_at_mut(cut);
                apply(first, mask);
                apply(second, rotated(mask, cut));
                assert_eq!(masked, expected, "{bytes} bytes cut at {cut}");
            }
        }
    }
}
