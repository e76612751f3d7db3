//! The targets of a table, for people.

use crate::broker::table::Name;
use crate::broker::table::Table;
use crate::broker::table::Target;

impl Table {
    /// Each target that somebody subscribes to, with how many subscriptions it has.
    pub fn targets(&self) -> impl Iterator<Item = (Target<'_>, usize)> {
        self.destinations.iter().map(|(_, destination)| {
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
            (target, members.sum())
        })
    }
}
