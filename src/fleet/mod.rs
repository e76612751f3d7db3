//! What an operator says to all tasks of a fleet: signed control messages through the Redis that
//! they share.
//!
//! For: `ringway revoke`, `ringway disconnect`, and a server whose own operator says the same; and
//! for tasks that tell each other how many connections their users have. It all blocks, so it is
//! never done on a shard. Must never know how a task obeys. Read this file, then `client` (one
//! connection to Redis), then `seats`.
#![forbid(unsafe_code)]

mod client;
pub mod seats;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hash::Hasher;

use crate::config::redis_url::RedisUrl;
use crate::config::settings::RelayMode;
use crate::config::settings::RelaySettings;
use crate::config::settings::Secret;
use crate::fleet::client::Client;
use crate::fleet::client::Reply;
use crate::io::tls;
use crate::policy::auth::REVOCATIONS_COUNT_MAX;
use crate::policy::auth::Revocation;
use crate::policy::auth::Whom;
use crate::proto::control;
use crate::proto::control::Control;
use crate::proto::control::Message;
use crate::proto::control::Tokens;
use crate::proto::envelope::Key;

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// These tokens are worth nothing any more, and their sessions end.
    Revoke(Revocation),
    /// The sessions of this user end; they may come again.
    Disconnect(Box<str>),
}

impl Word {
    fn control(&self) -> Control<'_> {
        match self {
            Self::Disconnect(user) => Control::Disconnect { user },
            Self::Revoke(Revocation { whom, until_ms }) => Control::Revoke {
                tokens: match whom {
                    Whom::Token(jti) => Tokens::Id(jti),
                    Whom::User { id, .. } => Tokens::User(id),
                },
                until_ms: Some(*until_ms),
            },
        }
    }
}

/// Where the tasks listen, and what they believe.
#[derive(Debug)]
pub struct Fleet {
    servers: Servers,
    key: Key,
}

/// The Redis that the tasks share.
#[derive(Debug)]
struct Servers {
    addresses: Vec<(Box<str>, u16)>,
    is_sharded: bool,
    user: Option<Box<str>>,
    password: Option<Secret>,
    tls: Option<Tls>,
}

/// How Redis speaks TLS.
struct Tls {
    config: tls::Client,
    /// The name that certificates are for, where it is not the host's.
    server_name: Option<Box<str>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Servers {
    /// Those of these settings; `None` without a Redis.
    ///
    /// # Errors
    ///
    /// One line when the file of authorities cannot be used.
    fn new(relay: &RelaySettings) -> Result<Option<Self>, String> {
        if !relay.is_redis() {
            return Ok(None);
        }
        let tls = if relay.is_tls() {
            let files = tls::ClientFiles { ca: relay.tls_ca.clone(), certificate_and_key: None };
            let config =
                tls::Client::load(&files).map_err(|error| format!("relay.tls_ca: {error}"))?;
            Some(Tls { config, server_name: relay.tls_server_name.as_deref().map(Box::from) })
        } else {
            None
        };
        let (user, password) = relay.credentials();
        let place = |it: &RedisUrl| (Box::from(it.host.as_str()), it.port);
        Ok(Some(Self {
            addresses: relay.url.iter().map(place).collect(),
            is_sharded: relay.effective_mode() == RelayMode::Sharded,
            user: user.map(Box::from),
            password: password.cloned(),
            tls,
        }))
    }
}

impl Fleet {
    /// The fleet of these settings; `None` where there is just one process: without a Redis, or
    /// without the key that its tasks ask for.
    ///
    /// # Errors
    ///
    /// One line when the file of authorities cannot be used.
    pub fn new(relay: &RelaySettings) -> Result<Option<Self>, String> {
        let Some(key) = &relay.hmac_key else {
            return Ok(None);
        };
        let key = Key::new(key.reveal().as_bytes());
        Ok(Servers::new(relay)?.map(|servers| Self { servers, key }))
    }

    /// Says a word to all tasks, and writes it down for those that are away where it has to last.
    /// Gives how many connections to Redis have heard it, one for each core of a task. May take
    /// some seconds.
    ///
    /// # Errors
    ///
    /// One line: nobody, or not everybody, can be told.
    pub fn say(&self, now_ms: u64, word: &Word) -> Result<u64, String> {
        let id = format!("{now_ms:x}-{:016x}", RandomState::new().build_hasher().finish());
        let timestamp_ms = match word {
            Word::Revoke(Revocation { whom: Whom::User { issued_until_ms, .. }, .. }) => {
                *issued_until_ms
            }
            Word::Revoke(_) | Word::Disconnect(_) => now_ms,
        };
        let message = Message { id: &id, timestamp_ms, control: word.control(), signature: None };
        let mut json = Vec::new();
        message.encode(&mut json, Some(&self.key));
        let mut client = Client::connect(&self.servers)?;
        if let Word::Revoke(revocation) = word {
            self.write_down(&mut client, now_ms, revocation.until_ms, &json)
                .map_err(|why| format!("nothing is revoked: {why}"))?;
        }
        let verb: &[u8] = if self.servers.is_sharded { b"SPUBLISH" } else { b"PUBLISH" };
        let channel = control::CHANNEL.as_bytes();
        match (client.ask_owner(&self.servers, &[verb, channel, &json]), word) {
            (Ok(Reply::Integer(count)), _) => Ok(u64::try_from(count).unwrap_or(0)),
            (Ok(other), _) => Err(format!("Redis answers PUBLISH with {other}")),
            (Err(why), Word::Disconnect(_)) => Err(why),
            (Err(why), Word::Revoke(_)) => {
                Err(format!("it is written down, but nobody was told; say it again: {why}"))
            }
        }
    }

    /// First written, then told: whoever comes between the two reads it.
    fn write_down(
        &self,
        client: &mut Client,
        now_ms: u64,
        until_ms: u64,
        json: &[u8],
    ) -> Result<(), String> {
        let record = control::RECORD.as_bytes();
        let until = until_ms.to_string();
        let past = format!("({now_ms}");
        // Those that end first go, when there are too many.
        let too_many = format!("-{}", REVOCATIONS_COUNT_MAX + 1);
        let commands: [&[&[u8]]; 3] = [
            &[b"ZADD", record, until.as_bytes(), json],
            &[b"ZREMRANGEBYSCORE", record, b"-inf", past.as_bytes()],
            &[b"ZREMRANGEBYRANK", record, b"0", too_many.as_bytes()],
        ];
        for command in commands {
            let reply = client.ask_owner(&self.servers, command)?;
            if !matches!(reply, Reply::Integer(_)) {
                return Err(format!("Redis answers with {reply}"));
            }
        }
        Ok(())
    }
}
