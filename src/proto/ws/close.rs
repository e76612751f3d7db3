//! What a close frame may carry (RFC 6455 §5.5.1 and §7.4).

use crate::proto::ws::Error;

/// Decodes the payload of a close frame: the code, if any, and the reason.
///
/// # Errors
///
/// [`Error::ClosePayload`], [`Error::CloseCode`] or [`Error::CloseReasonNotUtf8`].
pub(super) fn decode(payload: &[u8]) -> Result<(Option<u16>, &str), Error> {
    if payload.is_empty() {
        return Ok((None, ""));
    }
    let Some((&code, reason)) = payload.split_first_chunk() else {
        return Err(Error::ClosePayload);
    };
    let code = u16::from_be_bytes(code);
    if !may_be_sent(code) {
        return Err(Error::CloseCode);
    }
    let reason = str::from_utf8(reason).map_err(|_| Error::CloseReasonNotUtf8)?;
    Ok((Some(code), reason))
}

/// Whether a peer may put `code` into a close frame: those of RFC 6455 §7.4.1 that are not
/// reserved, 1012 to 1014 of the registry, and the ranges for libraries and applications (§7.4.2).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: u16, expected: bool) {
        let payload = code.to_be_bytes();
        let found = decode(&payload);
        assert_eq!(found, if expected { Ok((Some(code), "")) } else { Err(Error::CloseCode) });
    }

    #[test]
    fn only_codes_meant_for_the_wire_are_taken() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            check(code, true);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            check(code, false);
        }
    }

    #[test]
    fn a_payload_is_empty_or_a_code_with_a_reason_in_utf8() {
        assert_eq!(decode(b""), Ok((None, "")));
        assert_eq!(decode(b"\x03"), Err(Error::ClosePayload));
        assert_eq!(decode(b"\x03\xE8bye"), Ok((Some(1000), "bye")));
        assert_eq!(decode(b"\x03\xE8\xC3"), Err(Error::CloseReasonNotUtf8));
    }
}
