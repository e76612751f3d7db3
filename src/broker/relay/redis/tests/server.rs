//! A small Redis for tests: it takes bytes and gives bytes, and remembers what was done.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::broker::relay::redis::options::Address;
use crate::proto::resp;

/// One connection, as the server has it.
#[derive(Debug, Default)]
pub(super) struct Client {
    received: Vec<u8>,
    pub(super) sent: Vec<u8>,
    is_resp3: bool,
    is_in: bool,
    is_asking: bool,
    pub(super) exact: BTreeSet<Vec<u8>>,
    pub(super) globs: BTreeSet<Vec<u8>>,
}

/// One server.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) is_replica: bool,
    /// Knows no HELLO.
    pub(super) is_old: bool,
    pub(super) password: Option<String>,
    /// Channels that nobody may subscribe to or publish on.
    pub(super) denied: BTreeSet<Vec<u8>>,
    /// Commands that are not allowed.
    pub(super) forbidden: BTreeSet<String>,
    /// What every PUBLISH and XADD is answered, instead of being done.
    pub(super) error: Option<String>,
    pub(super) clients: BTreeMap<u64, Client>,
    pub(super) commands: Vec<String>,
    /// What was published: channel and message, in order.
    pub(super) published: Vec<(Vec<u8>, Vec<u8>)>,
    /// The place of each of them among all that any server was given.
    pub(super) numbers: Vec<u64>,
    pub(super) clock: Rc<Cell<u64>>,
    /// Entries of streams: key, then fields and values.
    pub(super) appended: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    /// What is revoked, as it is written down.
    pub(super) revoked: Vec<Vec<u8>>,
    /// In a cluster, who has which slots; the same in each server that knows it.
    pub(super) slots: Option<Vec<(u16, u16, Address)>>,
    pub(super) address: Option<Address>,
    /// Slots that are about to be this server's.
    pub(super) importing: BTreeSet<u16>,
    /// Slots whose keys have gone to another server already.
    pub(super) migrated: BTreeMap<u16, Address>,
}

impl Server {
    pub(super) fn connect(&mut self, client: u64) {
        self.clients.insert(client, Client::default());
    }

    /// Takes bytes of a client and does all whole commands in them.
    pub(super) fn receive(&mut self, client: u64, bytes: &[u8]) {
        let Some(it) = self.clients.get_mut(&client) else { return };
        it.received.extend_from_slice(bytes);
        loop {
            let Some(it) = self.clients.get_mut(&client) else { return };
            let received = std::mem::take(&mut it.received);
            let limits = resp::Limits { bulk_bytes_max: 1 << 30, items_max: 9999, depth_max: 2 };
            let Some((value, end)) = resp::parse(&received, &limits).expect("commands are RESP")
            else {
                it.received = received;
                return;
            };
            let parts = value.items().expect("a command is an array").iter();
            let parts: Vec<Vec<u8>> =
                parts.map(|it| it.as_bytes().expect("of bulks").to_vec()).collect();
            it.received = received[end..].to_vec();
            self.execute(client, &parts);
        }
    }

    fn execute(&mut self, client: u64, parts: &[Vec<u8>]) {
        let name = String::from_utf8(parts[0].clone()).expect("a command has a name");
        self.commands.push(name.clone());
        let is_in = self.password.is_none() || self.clients[&client].is_in;
        let is_greeting = name == "HELLO" || name == "AUTH";
        if !is_in && !is_greeting {
            return self.say(client, "-NOAUTH Authentication required.\r\n");
        }
        if self.forbidden.contains(&name) {
            return self.say(client, "-NOPERM this user has no permissions to run it\r\n");
        }
        match &*name {
            "HELLO" => self.hello(client, parts),
            "AUTH" => match &self.password {
                Some(password) if parts.last().is_some_and(|it| *it == password.as_bytes()) => {
                    self.client(client).is_in = true;
                    self.say(client, "+OK\r\n");
                }
                _ => self.say(client, "-WRONGPASS invalid username-password pair\r\n"),
            },
            "ROLE" if self.is_replica => {
                self.say(client, "*3\r\n$5\r\nslave\r\n$1\r\nm\r\n:1\r\n");
            }
            "ROLE" => self.say(client, "*3\r\n$6\r\nmaster\r\n:9\r\n*0\r\n"),
            "PING" => {
                let it = self.client(client);
                let is_pushed = !(it.is_resp3 || it.exact.is_empty() && it.globs.is_empty());
                let pong = if is_pushed { "*2\r\n$4\r\npong\r\n$0\r\n\r\n" } else { "+PONG\r\n" };
                self.say(client, pong);
            }
            "ASKING" => {
                self.client(client).is_asking = true;
                self.say(client, "+OK\r\n");
            }
            "CLUSTER" => self.cluster(client),
            "ZSCAN" => self.scan_revoked(client, parts),
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE"
            | "SUNSUBSCRIBE" => self.subscribe(client, &name, &parts[1..]),
            "PUBLISH" | "SPUBLISH" | "XADD" => self.publish(client, &name, &parts[1..]),
            _ => panic!("{name} is not imitated"),
        }
    }

    fn hello(&mut self, client: u64, parts: &[Vec<u8>]) {
        if self.is_old {
            return self.say(client, "-ERR unknown command 'HELLO', with args beginning with\r\n");
        }
        match &self.password {
            Some(_) if parts.len() < 5 => {
                return self.say(client, "-NOAUTH HELLO must be called with AUTH\r\n");
            }
            Some(password) if parts[4] != password.as_bytes() => {
                return self.say(client, "-WRONGPASS invalid username-password pair\r\n");
            }
            _ => {}
        }
        let it = self.client(client);
        (it.is_in, it.is_resp3) = (true, true);
        self.say(client, "%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n");
    }

    fn cluster(&mut self, client: u64) {
        let Some(slots) = self.slots.clone() else {
            return self.say(client, "-ERR This instance has cluster support disabled\r\n");
        };
        let mut text = format!("*{}\r\n", slots.len());
        for (first, last, Address { host, port }) in slots {
            let bytes = host.len();
            text += &format!(
                "*3\r\n:{first}\r\n:{last}\r\n*3\r\n${bytes}\r\n{host}\r\n:{port}\r\n$1\r\ni\r\n"
            );
        }
        self.say(client, &text);
    }

    /// Two entries a page.
    fn scan_revoked(&mut self, client: u64, parts: &[Vec<u8>]) {
        assert_eq!((&*parts[1], &*parts[3]), (&b"ringway:revoked"[..], &b"COUNT"[..]));
        if let Some(error) = self.redirect(client, &parts[1]) {
            return self.say(client, &error);
        }
        let at: usize = str::from_utf8(&parts[2]).unwrap().parse().unwrap();
        let page: Vec<Vec<u8>> = self.revoked.iter().skip(at).take(2).cloned().collect();
        let next = if at + 2 < self.revoked.len() { at + 2 } else { 0 }.to_string();
        let head = format!("*2\r\n${}\r\n{next}\r\n*{}\r\n", next.len(), page.len() * 2);
        self.say(client, &head);
        for entry in page {
            self.say(client, &format!("${}\r\n", entry.len()));
            self.client(client).sent.extend_from_slice(&entry);
            self.say(client, "\r\n$1\r\n9\r\n");
        }
    }

    /// The error that a slot which is not served here is answered with.
    fn redirect(&mut self, client: u64, key: &[u8]) -> Option<String> {
        let slots = self.slots.as_ref()?;
        let slot = resp::slot_of(key);
        let is_asking = std::mem::take(&mut self.clients.get_mut(&client)?.is_asking);
        let owner = slots.iter().find(|it| it.0 <= slot && slot <= it.1).map(|it| it.2.clone());
        let Some(owner) = owner else {
            return Some("-CLUSTERDOWN Hash slot not served\r\n".to_owned());
        };
        if self.address.as_ref() != Some(&owner) && !(is_asking && self.importing.contains(&slot)) {
            return Some(format!("-MOVED {slot} {}:{}\r\n", owner.host, owner.port));
        }
        let target = self.migrated.get(&slot)?;
        Some(format!("-ASK {slot} {}:{}\r\n", target.host, target.port))
    }

    fn subscribe(&mut self, client: u64, command: &str, names: &[Vec<u8>]) {
        let enters = !command.contains("UN");
        if enters && names.iter().any(|it| self.denied.contains(it)) {
            return self.say(client, "-NOPERM No permissions to access a channel\r\n");
        }
        if command.starts_with('S') && command != "SUBSCRIBE" {
            let slots: BTreeSet<u16> = names.iter().map(|it| resp::slot_of(it)).collect();
            assert_eq!(slots.len(), 1, "-CROSSSLOT");
            if let Some(error) = self.redirect(client, &names[0]) {
                return self.say(client, &error);
            }
        }
        for name in names {
            let it = self.client(client);
            let set = if command.starts_with('P') { &mut it.globs } else { &mut it.exact };
            if enters {
                set.insert(name.clone());
            } else {
                set.remove(name);
            }
            self.push(client, &[command.to_lowercase().as_bytes(), name], Some(1));
        }
    }

    fn publish(&mut self, client: u64, command: &str, parts: &[Vec<u8>]) {
        if let Some(error) = self.error.clone() {
            return self.say(client, &format!("-{error}\r\n"));
        }
        if self.denied.contains(&parts[0]) {
            return self.say(client, "-NOPERM No permissions to access a channel\r\n");
        }
        if command != "PUBLISH"
            && let Some(error) = self.redirect(client, &parts[0])
        {
            return self.say(client, &error);
        }
        if command == "XADD" {
            assert_eq!(
                (&*parts[1], &*parts[2], &*parts[4]),
                (&b"MAXLEN"[..], &b"~"[..], &b"*"[..])
            );
            self.appended.push((parts[0].clone(), parts[5..].to_vec()));
            return self.say(client, "$3\r\n1-1\r\n");
        }
        let count = self.spread(&parts[0], &parts[1]);
        self.say(client, &format!(":{count}\r\n"));
    }

    /// Publishes as any back end could; returns how many were told.
    pub(super) fn spread(&mut self, name: &[u8], message: &[u8]) -> usize {
        self.published.push((name.to_vec(), message.to_vec()));
        self.numbers.push(self.clock.replace(self.clock.get() + 1));
        let mut count = 0;
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        let kind: &[u8] = if self.slots.is_some() { b"smessage" } else { b"message" };
        for client in clients {
            if self.clients[&client].exact.contains(name) {
                self.push(client, &[kind, name, message], None);
                count += 1;
            }
            for glob in self.clients[&client].globs.clone() {
                if matches(&glob, name) {
                    self.push(client, &[b"pmessage", &glob, name, message], None);
                    count += 1;
                }
            }
        }
        count
    }

    /// Ends the subscriptions of a slot, as a server does whose slot has gone.
    pub(super) fn expel(&mut self, slot: u16) {
        let clients: Vec<u64> = self.clients.keys().copied().collect();
        for client in clients {
            for name in self.clients[&client].exact.clone() {
                if resp::slot_of(&name) == slot {
                    self.client(client).exact.remove(&name);
                    self.push(client, &[b"sunsubscribe", &name], Some(0));
                }
            }
        }
    }

    fn push(&mut self, client: u64, parts: &[&[u8]], count: Option<usize>) {
        let sign = if self.client(client).is_resp3 { '>' } else { '*' };
        let mut out = format!("{sign}{}\r\n", parts.len() + usize::from(count.is_some()));
        let out_bytes = &mut self.client(client).sent;
        out_bytes.extend_from_slice(out.as_bytes());
        for part in parts {
            out = format!("${}\r\n", part.len());
            out_bytes.extend_from_slice(out.as_bytes());
            out_bytes.extend_from_slice(part);
            out_bytes.extend_from_slice(b"\r\n");
        }
        if let Some(count) = count {
            out_bytes.extend_from_slice(format!(":{count}\r\n").as_bytes());
        }
    }

    fn client(&mut self, client: u64) -> &mut Client {
        self.clients.get_mut(&client).expect("it is connected")
    }

    fn say(&mut self, client: u64, text: &str) {
        self.client(client).sent.extend_from_slice(text.as_bytes());
    }
}

/// Redis's own matching of globs, as far as ours use it.
pub(in crate::broker::relay::redis) fn matches(glob: &[u8], text: &[u8]) -> bool {
    match glob {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| matches(rest, &text[at..])),
        [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [b'\\', literal, rest @ ..] => text.first() == Some(literal) && matches(rest, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && matches(rest, &text[1..]),
    }
}
