//! How many connections each user has at which task, through the Redis that the tasks share: so
//! that a user has no more over all of them than over the cores of one.
//!
//! Each task keeps one hash, from user to count, which Redis forgets when the task does not speak
//! any more. A task that gives a user one more writes it first, then looks at the others' hashes:
//! of two that do so at once at least one sees the other, and takes back what is too much. Nobody
//! loses what was let be before, so who came in while Redis was away may stay.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::config::settings::RelaySettings;
use crate::fleet::Servers;
use crate::fleet::client::Client;
use crate::fleet::client::Command;
use crate::fleet::client::Reply;

/// How often a task speaks, at least.
pub const BEAT_MS: u64 = 5_000;
/// How long Redis keeps what a task has said last.
const LIFE_MS: u64 = 20_000;
/// How long a Redis that cannot be used is left alone.
const PAUSE_MS: u64 = 2_000;
/// The names of the tasks, by when they spoke last; with the braces, all is in one slot.
const TASKS: &str = "ringway:{seats}";
/// For so long a name stays there that nobody uses any more.
const NAME_LIFE_MS: u64 = 3_600_000;
/// Other tasks that are looked at.
const TASKS_MAX: usize = 1024;
/// Users in one command.
const USERS_MAX: usize = 256;

/// A user and a number of connections.
pub type UserSeats = (Arc<str>, u32);

/// What one task knows.
///
/// Invariant: no `granted` is over its `count`.
#[derive(Debug)]
pub struct Seats {
    servers: Servers,
    /// This task's hash.
    own: String,
    users: HashMap<Arc<str>, Entry>,
    /// What Redis does not know yet.
    unsaid: HashSet<Arc<str>>,
    client: Option<Client>,
    /// Whether the hash exists.
    is_written: bool,
    silent_until_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entry {
    /// Connections here.
    count: u32,
    /// Those that may stay whatever others have.
    granted: u32,
}

impl Entry {
    /// Judges what is new, `others` being elsewhere; how many may stay where that is not all.
    fn judge(&mut self, others: u32, max: u32) -> Option<u32> {
        let allowed = max.saturating_sub(others).max(self.granted);
        self.granted = self.count.min(allowed);
        (self.granted < self.count).then_some(self.granted)
    }
}

impl Seats {
    /// Those of the task called `origin`; `None` where no other task shares a Redis with it.
    ///
    /// # Errors
    ///
    /// One line when the file of authorities cannot be used.
    pub fn new(relay: &RelaySettings, origin: &str) -> Result<Option<Self>, String> {
        Ok(Servers::new(relay)?.map(|servers| Self {
            servers,
            own: format!("{TASKS}:{origin}"),
            users: HashMap::new(),
            unsaid: HashSet::new(),
            client: None,
            is_written: false,
            silent_until_ms: 0,
        }))
    }

    /// Takes how many connections users have here now, `max` being what one may have over all
    /// tasks, 0 any number. Gives those who have too many, and how many of theirs may stay. To be
    /// called every [`BEAT_MS`], with or without news; may take some seconds.
    ///
    /// # Errors
    ///
    /// One line: Redis is away, and each task counts for itself.
    pub fn settle(
        &mut self,
        now_ms: u64,
        news: Vec<UserSeats>,
        max: u32,
    ) -> Result<Vec<UserSeats>, String> {
        let mut grown = Vec::new();
        for (user, count) in news {
            let entry = self.users.entry(Arc::clone(&user)).or_default();
            *entry = Entry { count, granted: entry.granted.min(count) };
            self.unsaid.insert(Arc::clone(&user));
            grown.push(user);
        }
        grown.sort_unstable();
        grown.dedup();
        grown.retain(|it| self.users.get(it).is_some_and(|it| it.granted < it.count));
        let is_away = self.client.is_none() && now_ms < self.silent_until_ms;
        let has_nothing_to_say = self.users.is_empty() && !self.is_written;
        let seen = if is_away || has_nothing_to_say {
            Ok(HashMap::new())
        } else {
            self.exchange(now_ms, if max == 0 { &[] } else { &grown })
        };
        if seen.is_err() {
            self.silent_until_ms = now_ms.saturating_add(PAUSE_MS);
        }
        if self.client.is_none() {
            // All is said when there is somebody to say it to.
            self.unsaid.clear();
        }
        let mut crowded = Vec::new();
        for user in grown {
            let Some(entry) = self.users.get_mut(&user) else { continue };
            let others = seen.as_ref().ok().and_then(|it| it.get(&user)).copied().unwrap_or(0);
            let max = if max == 0 || self.client.is_none() { u32::MAX } else { max };
            crowded.extend(entry.judge(others, max).map(|granted| (user, granted)));
        }
        self.users.retain(|_, it| 0 < it.count);
        seen.map(|_| crowded)
    }

    /// Says what is unsaid, then looks how many the others have of these users.
    fn exchange(
        &mut self,
        now_ms: u64,
        grown: &[Arc<str>],
    ) -> Result<HashMap<Arc<str>, u32>, String> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                self.is_written = false;
                Client::connect(&self.servers)?
            }
        };
        let now = now_ms.to_string();
        let mut commands = vec![self.keep(), words(&["ZADD", TASKS, &now, &self.own])];
        let said = client.ask_owner_all(&self.servers, &commands)?;
        // After a loss it may be there, and be old.
        let is_kept = self.is_written && said.first() == Some(&Reply::Integer(1));
        commands = if is_kept { self.changes() } else { self.everything(now_ms) };
        client.ask_owner_all(&self.servers, &commands)?;
        self.unsaid.clear();
        self.is_written = self.users.values().any(|it| 0 < it.count);
        let seen = if grown.is_empty() {
            HashMap::new()
        } else {
            look(&mut client, &self.servers, &self.own, grown)?
        };
        self.client = Some(client);
        Ok(seen)
    }

    /// Redis is to remember this task's hash for a while.
    fn keep(&self) -> Command {
        words(&["PEXPIRE", &self.own, &LIFE_MS.to_string()])
    }

    /// All of this task, as after a start or a loss.
    fn everything(&self, now_ms: u64) -> Vec<Command> {
        let old = format!("({}", now_ms.saturating_sub(NAME_LIFE_MS));
        let mut commands =
            vec![words(&["ZREMRANGEBYSCORE", TASKS, "-inf", &old]), words(&["DEL", &self.own])];
        let mut all: Vec<&Arc<str>> = self.users.keys().collect();
        all.sort_unstable();
        self.push_counts(&all, &mut commands);
        commands
    }

    /// What has changed.
    fn changes(&self) -> Vec<Command> {
        let mut unsaid: Vec<&Arc<str>> = self.unsaid.iter().collect();
        unsaid.sort_unstable();
        let mut commands = Vec::new();
        self.push_counts(&unsaid, &mut commands);
        commands
    }

    fn push_counts(&self, users: &[&Arc<str>], commands: &mut Vec<Command>) {
        for users in users.chunks(USERS_MAX) {
            let mut set = words(&["HSET", &self.own]);
            let mut delete = words(&["HDEL", &self.own]);
            for user in users {
                match self.users.get(*user).map_or(0, |it| it.count) {
                    0 => delete.push(user.as_bytes().to_vec()),
                    count => {
                        let count = count.to_string().into_bytes();
                        set.extend([user.as_bytes().to_vec(), count]);
                    }
                }
            }
            commands.extend([set, delete].into_iter().filter(|it| 2 < it.len()));
        }
        commands.push(self.keep());
    }
}

/// How many connections these users have at the tasks other than `own`.
fn look(
    client: &mut Client,
    servers: &Servers,
    own: &str,
    users: &[Arc<str>],
) -> Result<HashMap<Arc<str>, u32>, String> {
    let last = (TASKS_MAX - 1).to_string();
    let names = client.ask_owner_all(servers, &[words(&["ZREVRANGE", TASKS, "0", &last])])?;
    let names = names.into_iter().flat_map(items_of).flatten();
    let others: Vec<String> = names.filter(|it| it != own).collect();
    let mut found: HashMap<Arc<str>, u32> = HashMap::new();
    for users in users.chunks(USERS_MAX) {
        let ask = |task: &String| {
            let mut command = words(&["HMGET", task]);
            command.extend(users.iter().map(|it| it.as_bytes().to_vec()));
            command
        };
        let questions: Vec<Command> = others.iter().map(ask).collect();
        for reply in client.ask_owner_all(servers, &questions)? {
            for (user, count) in users.iter().zip(items_of(reply)) {
                let count = count.and_then(|it| it.parse().ok()).unwrap_or(0);
                let sum = found.entry(Arc::clone(user)).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }
    Ok(found)
}

fn items_of(reply: Reply) -> Vec<Option<String>> {
    match reply {
        Reply::Items(items) => items,
        Reply::Integer(_) | Reply::Error(_) | Reply::Other => Vec::new(),
    }
}

fn words(words: &[&str]) -> Command {
    words.iter().map(|it| it.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check((granted, count): (u32, u32), others: u32, expected: (u32, Option<u32>)) {
        let mut entry = Entry { count, granted };
        let crowded = entry.judge(others, 3);
        assert_eq!((entry.granted, crowded), expected);
    }

    #[test]
    fn who_is_within_the_limit_stays_and_what_is_over_it_goes() {
        check((0, 1), 0, (1, None));
        check((0, 1), 2, (1, None));
        check((0, 1), 3, (0, Some(0)));
        check((1, 3), 1, (2, Some(2)));
        check((1, 3), 0, (3, None));
    }

    #[test]
    fn what_was_granted_stays_whatever_others_have() {
        check((2, 2), 9, (2, None));
        check((2, 3), 9, (2, Some(2)));
        // More than the limit: granted while nobody could be asked.
        check((5, 5), 1, (5, None));
        check((5, 6), 0, (5, Some(5)));
    }
}
