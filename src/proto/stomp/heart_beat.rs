//! The `heart-beat` header (STOMP 1.2, "Heart-beating").

use crate::proto::stomp::Error;

/// What one side can and wants; 0 means not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeat {
    /// The shortest interval in which this side can send, in milliseconds.
    pub send_ms: u64,
    /// The interval in which it wants to receive, in milliseconds.
    pub receive_ms: u64,
}

/// Longer intervals (50 days) are taken as this, so that sums of deadlines cannot overflow.
const INTERVAL_MS_MAX: u64 = u32::MAX as u64;

impl HeartBeat {
    /// Parses the value of a client's header.
    ///
    /// A value without a comma and numbers below zero count as none, as in Spring; blanks around
    /// the numbers are overlooked.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalHeartBeat`] when a side of the comma is not a number below 2^63.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let Some((send, receive)) = value.split_once(',') else { return Ok(Self::default()) };
        Ok(Self { send_ms: parse_ms(send)?, receive_ms: parse_ms(receive)? })
    }
}

fn parse_ms(text: &str) -> Result<u64, Error> {
    let number: i64 = text.trim().parse().map_err(|_| Error::IllegalHeartBeat)?;
    Ok(u64::try_from(number).unwrap_or(0).min(INTERVAL_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Result<(u64, u64), Error>) {
        assert_eq!(HeartBeat::parse(value).map(|it| (it.send_ms, it.receive_ms)), expected);
    }

    #[test]
    fn two_numbers_of_milliseconds() {
        check("0,0", Ok((0, 0)));
        check("10000,20000", Ok((10_000, 20_000)));
        check("10000, 20000 ", Ok((10_000, 20_000)));
    }

    #[test]
    fn c13_what_counts_as_none() {
        check("1000", Ok((0, 0)));
        check("abc", Ok((0, 0)));
        check("", Ok((0, 0)));
        check("-1,-1", Ok((0, 0)));
        check("-1,5", Ok((0, 5)));
    }

    #[test]
    fn c14_what_is_wrong() {
        for value in ["1,2,3", ",", "0x1,0", "1,", "9223372036854775808,0", "0,1.5"] {
            check(value, Err(Error::IllegalHeartBeat));
        }
    }

    #[test]
    fn long_intervals_are_capped() {
        check("4294967295,0", Ok((4_294_967_295, 0)));
        check("4294967296,9223372036854775807", Ok((4_294_967_295, 4_294_967_295)));
    }
}
