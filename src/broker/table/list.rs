//! The targets of a table, for people, one by one.

use crate::broker::table::Name;
use crate::broker::table::Table;
use crate::broker::table::Target;

impl Table {
    /// Places of targets: each is below, and some are empty.
    #[must_use]
    pub fn places(&self) -> usize {
        self.destinations.capacity()
    }

    /// The target at a place, with how many subscriptions it has.
    #[must_use]
    pub fn target_at(&self, place: usize) -> Option<(Target<'_>, usize)> {
        let destination = self.destinations.get(place)?;
        let target = match &destination.name {
            Name::Exact(channel) => Target::Exact(channel),
            Name::Pattern(key) => {
                let pattern = self.patterns.pattern(*key);
                let pattern = pattern.expect("a pattern lives as long as its groups");
                Target::Pattern(pattern.as_str())
            }
        };
        let groups = destination.groups.iter();
        let members = groups.map(|it| self.groups[it.0 as usize].members().len());
        Some((target, members.sum()))
    }
}
