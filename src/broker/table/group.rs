//! Groups of the table: subscribers of one target whose frames are the same bytes.

use crate::broker::table::DestinationKey;
use crate::broker::table::GroupKey;
use crate::broker::table::Slot;
use crate::broker::table::SubscriptionKey;
use crate::broker::table::Table;
use crate::proto::stomp::Version;

/// What a subscriber's frame looks like: subscribers of equal format share one encoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format<'a> {
    /// The subscription id; a STOMP 1.0 client may have none.
    pub id: Option<&'a str>,
    /// The version whose escaping applies.
    pub version: Version,
    /// The destination to show instead of the publication's own, such as `/user/queue/x`.
    pub shown: Option<&'a str>,
    /// Not for pushes yet: it is still given what was before them.
    pub is_replaying: bool,
}

/// A subscriber in a [`Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The connection it feeds.
    pub slot: Slot,
    /// Its subscription, for [`remove`](crate::broker::table::Table::remove).
    pub subscription: SubscriptionKey,
}

/// Subscribers of one target that get the same bytes.
///
/// Invariant: it has a member.
#[derive(Debug)]
pub struct Group {
    /// The subscription line, then what is shown.
    pub(super) text: Box<str>,
    pub(super) line_bytes: u32,
    pub(super) is_shown: bool,
    pub(super) is_replaying: bool,
    pub(super) version: Version,
    pub(super) destination: DestinationKey,
    /// Where in the destination's groups.
    pub(super) at: u32,
    pub(super) members: Vec<Member>,
}

impl Group {
    /// The header line `subscription:<id>\n`, escaped for the version; empty without an id.
    #[must_use]
    pub fn subscription_line(&self) -> &[u8] {
        &self.text.as_bytes()[..self.line_bytes as usize]
    }

    /// The version that the frame must be encoded for.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The destination to show instead of the publication's own.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        self.is_shown.then(|| &self.text[self.line_bytes as usize..])
    }

    /// Whether pushes are not for them yet.
    #[must_use]
    pub fn is_replaying(&self) -> bool {
        self.is_replaying
    }

    /// The subscribers, at least one, in no promised but in a repeatable order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn look(&self) -> Look<'_> {
        let (destination, version, is_shown) = (self.destination.0, self.version, self.is_shown);
        let (line_bytes, is_replaying) = (self.line_bytes, self.is_replaying);
        Look { destination, version, line_bytes, is_shown, is_replaying, text: &self.text }
    }
}

/// What makes a group: its target and the format as it is written; ids written alike share their
/// bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Look<'a> {
    pub(super) destination: u32,
    pub(super) version: Version,
    pub(super) line_bytes: u32,
    pub(super) is_shown: bool,
    pub(super) is_replaying: bool,
    pub(super) text: &'a str,
}

/// The groups of a publication, exact ones first; see [`Table::groups`].
#[derive(Debug)]
pub struct Groups<'t> {
    pub(super) table: &'t Table,
    pub(super) wanted: std::slice::Iter<'t, DestinationKey>,
    pub(super) groups: std::slice::Iter<'t, GroupKey>,
}

impl<'t> Iterator for Groups<'t> {
    type Item = &'t Group;

    fn next(&mut self) -> Option<&'t Group> {
        loop {
            if let Some(key) = self.groups.next() {
                return Some(self.table.group(*key));
            }
            let destination = self.wanted.next()?;
            self.groups = self.table.destinations[destination.0 as usize].groups.iter();
        }
    }
}
