//! Control messages: what tasks tell each other on `ringway:control`, as JSON, signed once there is
//! a key.
//!
//! `{"kind","id","timestamp","task","user","jti","until","signature"}`, all of them written, null
//! where they say nothing. A signature covers all of them but itself.

use std::fmt;

use crate::proto::json;
use crate::proto::json::Fields;
use crate::proto::json::Reader;
use crate::proto::signature;
use crate::proto::signature::Key;
use crate::proto::signature::Text;
use crate::proto::signature::Unverified;

/// The channel of control messages.
pub const CHANNEL: &str = "ringway:control";
/// The sorted set of the messages that revoke, each by when it can be forgotten.
pub const RECORD: &str = "ringway:revoked";
/// Most bytes of a control message.
pub const BYTES_MAX: usize = 16 * 1024;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    /// Drain one task, or all.
    Drain {
        /// Its name; `None` for all.
        task: Option<&'a str>,
    },
    /// Close the sessions of a user.
    Disconnect {
        /// Their id.
        user: &'a str,
    },
    /// Believe no longer in tokens, and close the sessions that came with one of them.
    Revoke {
        /// Which.
        tokens: Tokens<'a>,
        /// When all of them have expired, in milliseconds since 1970, so that the revocation can
        /// be forgotten; `None` when it cannot.
        until_ms: Option<u64>,
    },
}

/// Which tokens are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens<'a> {
    /// The one with this `jti` (RFC 7519 §4.1.7).
    Id(&'a str),
    /// All of a user.
    User(&'a str),
}

/// A control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Made by the sender, never empty: what was said once is not done twice.
    pub id: &'a str,
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// What is to be done.
    pub control: Control<'a>,
    /// See [`verify`](Self::verify).
    pub signature: Option<&'a str>,
}

/// Why a control message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More bytes than [`BYTES_MAX`].
    Oversize,
    /// Not one JSON object in UTF-8.
    Json,
    /// A kind that is not known here, perhaps of a newer version.
    Kind,
    /// A field that is missing, has the wrong type, comes twice or does not belong to the kind.
    Field,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Oversize => "The control message is larger than 16 KiB.",
            Self::Json => "The control message is not one JSON object in UTF-8.",
            Self::Kind => "The control message is of an unknown kind.",
            Self::Field => "A field of the control message is missing, wrong or out of place.",
        })
    }
}

impl std::error::Error for Error {}

/// The fields as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw<'a> {
    kind: Option<&'a str>,
    id: Option<&'a str>,
    timestamp_ms: Option<u64>,
    task: Option<&'a str>,
    user: Option<&'a str>,
    jti: Option<&'a str>,
    until_ms: Option<u64>,
    signature: Option<&'a str>,
}

/// Decodes `json` in place. Unknown fields are ignored: they are not signed, so they say nothing.
///
/// # Errors
///
/// Any [`Error`] means that the message must be dropped.
pub fn decode(json: &mut [u8]) -> Result<Message<'_>, Error> {
    if BYTES_MAX < json.len() {
        return Err(Error::Oversize);
    }
    Reader::new().read(json, |fields| Raw::take(fields)?.message()).ok_or(Error::Json)?
}

impl<'a> Message<'a> {
    /// Appends the JSON of the message, signed with `key` where there is one; the field
    /// `signature` is not looked at.
    pub fn encode(&self, out: &mut Vec<u8>, key: Option<&Key>) {
        let raw = Raw::new(self);
        let signature = key.map(|key| raw.text(key).sign());
        out.extend_from_slice(b"{\"kind\":");
        json::push_nullable(out, raw.kind);
        out.extend_from_slice(b",\"id\":");
        json::push_nullable(out, raw.id);
        push_number(out, ",\"timestamp\":", raw.timestamp_ms);
        for (name, text) in
            [(",\"task\":", raw.task), (",\"user\":", raw.user), (",\"jti\":", raw.jti)]
        {
            out.extend_from_slice(name.as_bytes());
            json::push_nullable(out, text);
        }
        push_number(out, ",\"until\":", raw.until_ms);
        out.extend_from_slice(b",\"signature\":");
        json::push_nullable(out, signature.as_deref());
        out.push(b'}');
    }

    /// Whether the message is signed with `key`, at most `window_ms` from `now_ms`.
    ///
    /// # Errors
    ///
    /// [`Unverified`] says why it must not be obeyed.
    pub fn verify(&self, key: &Key, now_ms: u64, window_ms: u64) -> Result<(), Unverified> {
        let text = || Raw::new(self).text(key);
        signature::verify(self.signature, text, self.timestamp_ms, now_ms, window_ms)
    }
}

fn push_number(out: &mut Vec<u8>, name: &str, number: Option<u64>) {
    out.extend_from_slice(name.as_bytes());
    match number {
        Some(number) => json::push_number(out, number),
        None => json::push_nullable(out, None),
    }
}

impl<'a> Raw<'a> {
    fn new(message: &Message<'a>) -> Self {
        let raw = Self {
            id: Some(message.id),
            timestamp_ms: Some(message.timestamp_ms),
            signature: message.signature,
            ..Self::default()
        };
        match message.control {
            Control::Drain { task } => Self { kind: Some("drain"), task, ..raw },
            Control::Disconnect { user } => {
                Self { kind: Some("disconnect"), user: Some(user), ..raw }
            }
            Control::Revoke { tokens, until_ms } => {
                let raw = Self { kind: Some("revoke"), until_ms, ..raw };
                match tokens {
                    Tokens::Id(jti) => Self { jti: Some(jti), ..raw },
                    Tokens::User(user) => Self { user: Some(user), ..raw },
                }
            }
        }
    }

    fn take(fields: Fields<'_, 'a>) -> Result<Self, Error> {
        let mut raw = Self::default();
        let mut seen: u32 = 0;
        for (name, value) in fields {
            let (bit, text, number) = match name {
                "kind" => (1, Some(&mut raw.kind), None),
                "id" => (2, Some(&mut raw.id), None),
                "timestamp" => (4, None, Some(&mut raw.timestamp_ms)),
                "task" => (8, Some(&mut raw.task), None),
                "user" => (16, Some(&mut raw.user), None),
                "jti" => (32, Some(&mut raw.jti), None),
                "until" => (64, None, Some(&mut raw.until_ms)),
                "signature" => (128, Some(&mut raw.signature), None),
                _ => continue,
            };
            if seen & bit != 0 {
                return Err(Error::Field);
            }
            seen |= bit;
            if value.is_null() {
                continue;
            }
            if let Some(text) = text {
                *text = Some(value.as_str().ok_or(Error::Field)?);
            }
            if let Some(number) = number {
                *number = Some(value.as_u64().ok_or(Error::Field)?);
            }
        }
        Ok(raw)
    }

    fn message(self) -> Result<Message<'a>, Error> {
        let control = match (self.kind, self.task, self.user, self.jti, self.until_ms) {
            (Some("drain"), task, None, None, None) => Control::Drain { task },
            (Some("disconnect"), None, Some(user), None, None) => Control::Disconnect { user },
            (Some("revoke"), None, None, Some(jti), until_ms) => {
                Control::Revoke { tokens: Tokens::Id(jti), until_ms }
            }
            (Some("revoke"), None, Some(user), None, until_ms) => {
                Control::Revoke { tokens: Tokens::User(user), until_ms }
            }
            (Some("drain" | "disconnect" | "revoke") | None, ..) => return Err(Error::Field),
            (Some(_), ..) => return Err(Error::Kind),
        };
        let id = self.id.filter(|id| !id.is_empty()).ok_or(Error::Field)?;
        let timestamp_ms = self.timestamp_ms.ok_or(Error::Field)?;
        Ok(Message { id, timestamp_ms, control, signature: self.signature })
    }

    fn text(&self, key: &Key) -> Text {
        let number = |text: Text, number: Option<u64>| {
            // As a string, so that null differs from every number.
            text.nullable(number.map(|it| it.to_string()).as_deref())
        };
        let text = key.text("ringway control 1").nullable(self.kind).nullable(self.id);
        let text = number(text, self.timestamp_ms);
        let text = text.nullable(self.task).nullable(self.user).nullable(self.jti);
        number(text, self.until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> [Message<'static>; 5] {
        let message = |control| Message { id: "c-1", timestamp_ms: 5000, control, signature: None };
        [
            message(Control::Drain { task: None }),
            message(Control::Drain { task: Some("task \"a\"") }),
            message(Control::Disconnect { user: "é\n" }),
            message(Control::Revoke { tokens: Tokens::Id("j"), until_ms: Some(9) }),
            message(Control::Revoke { tokens: Tokens::User("j"), until_ms: None }),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded_and_verified() {
        let key = Key::new(b"key");
        for message in messages() {
            let mut out = Vec::new();
            message.encode(&mut out, None);
            assert_eq!(decode(&mut out), Ok(message));
            assert_eq!(message.verify(&key, 5000, 0), Err(Unverified::Unsigned));

            let mut out = Vec::new();
            message.encode(&mut out, Some(&key));
            let found = decode(&mut out).unwrap();
            assert_eq!(Message { signature: None, ..found }, message);
            assert_eq!(found.verify(&key, 5060, 60), Ok(()));
            assert_eq!(found.verify(&key, 4940, 60), Ok(()));
            assert_eq!(found.verify(&key, 5061, 60), Err(Unverified::Stale));
            assert_eq!(found.verify(&key, 4939, 60), Err(Unverified::Stale));
            assert_eq!(found.verify(&Key::new(b"?"), 5000, 60), Err(Unverified::Forged));
        }
    }

    #[test]
    fn a_signature_is_worth_nothing_on_another_message() {
        let key = Key::new(b"key");
        let base = messages();
        let changed = [
            Message { id: "c-2", ..base[0] },
            Message { timestamp_ms: 5001, ..base[0] },
            Message { control: Control::Disconnect { user: "j" }, ..base[0] },
            Message {
                control: Control::Revoke { tokens: Tokens::User("j"), until_ms: Some(9) },
                ..base[0]
            },
        ];
        let all: Vec<_> = base.into_iter().chain(changed).collect();
        for (index, one) in all.iter().enumerate() {
            let signature = Raw::new(one).text(&key).sign();
            for (other_index, other) in all.iter().enumerate() {
                let other = Message { signature: Some(&signature), ..*other };
                assert_eq!(other.verify(&key, 5000, 60).is_ok(), index == other_index);
            }
        }
    }

    #[track_caller]
    fn check(json: &str, expected: Error) {
        let mut json = json.as_bytes().to_vec();
        assert_eq!(decode(&mut json), Err(expected));
    }

    #[test]
    fn what_does_not_fit_its_kind_is_refused() {
        check("", Error::Json);
        check("[]", Error::Json);
        check("{}", Error::Field);
        check(&format!("{{\"a\":\"{}\"}}", "a".repeat(BYTES_MAX)), Error::Oversize);
        check(r#"{"kind":"reboot","id":"a","timestamp":1}"#, Error::Kind);
        check(r#"{"kind":1,"id":"a","timestamp":1}"#, Error::Field);
        check(r#"{"kind":"drain","timestamp":1}"#, Error::Field);
        check(r#"{"kind":"drain","id":"","timestamp":1}"#, Error::Field);
        check(r#"{"kind":"drain","id":"a"}"#, Error::Field);
        check(r#"{"kind":"drain","id":"a","timestamp":-1}"#, Error::Field);
        check(r#"{"kind":"drain","id":"a","timestamp":1,"user":"b"}"#, Error::Field);
        check(r#"{"kind":"drain","id":"a","timestamp":1,"id":"a"}"#, Error::Field);
        check(r#"{"kind":"drain","id":"a","timestamp":1,"task":null,"task":"b"}"#, Error::Field);
        check(r#"{"kind":"disconnect","id":"a","timestamp":1}"#, Error::Field);
        check(r#"{"kind":"revoke","id":"a","timestamp":1}"#, Error::Field);
        check(r#"{"kind":"revoke","id":"a","timestamp":1,"jti":"a","user":"b"}"#, Error::Field);
    }
}
