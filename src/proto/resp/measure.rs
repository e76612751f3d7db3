//! Where a reply ends.

use arrayvec::ArrayVec;

use crate::proto::resp::DEPTH_MAX;
use crate::proto::resp::Error;
use crate::proto::resp::Limits;
use crate::proto::resp::token::ITEM_BYTES_MIN;
use crate::proto::resp::token::Kind;
use crate::proto::resp::token::Stop;
use crate::proto::resp::token::Token;
use crate::proto::resp::token::token;

/// Finds the end of the reply at the front of `bytes`, and judges all of it.
///
/// Without recursion and memory: what it accepts, `parse` can build.
pub(super) fn measure(bytes: &[u8], limits: &Limits) -> Result<usize, Stop> {
    let depth_max = limits.depth_max.min(DEPTH_MAX);
    // Elements still wanted: of the reply itself, then of each open aggregate.
    let mut levels: ArrayVec<usize, { DEPTH_MAX + 1 }> = ArrayVec::new();
    levels.push(1);
    let mut at = 0;
    // Elements announced, and those of them not read yet.
    let mut announced_count: usize = 0;
    let mut missing_count: usize = 1;
    while let Some(wanted_count) = levels.last_mut() {
        if *wanted_count == 0 {
            levels.pop();
            continue;
        }
        let (found, next) = match token(bytes, at, limits) {
            Ok(found) => found,
            Err(Stop::Incomplete(bytes_min)) => {
                let others_bytes = (missing_count - 1).saturating_mul(ITEM_BYTES_MIN);
                return Err(Stop::Incomplete(bytes_min.saturating_add(others_bytes)));
            }
            Err(Stop::Broken(error)) => return Err(Stop::Broken(error)),
        };
        at = next;
        let is_attribute = matches!(found, Token::Open { kind: Kind::Attribute, .. });
        if !is_attribute {
            *wanted_count -= 1;
            missing_count -= 1;
        }
        if let Token::Open { items_count, .. } = found {
            announced_count = announced_count.saturating_add(items_count);
            if limits.items_max < announced_count {
                return Err(Error::TooManyItems.into());
            }
            missing_count += items_count;
            if depth_max < levels.len() {
                return Err(Error::TooDeep.into());
            }
            levels.push(items_count);
        }
    }
    Ok(at)
}
