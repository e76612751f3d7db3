//! The envelope: one publication as JSON on the relay, wire compatible with a Spring back end that
//! publishes as the reference article does.
//!
//! The article's six fields come first: `destination`, `userId` or null, `payload` (the body, as a
//! string), `payloadType`, `timestamp` (ms), `originServerId` or null. Ours adds `id`, `seq`,
//! `epoch`, `contentType`, `senderId`, `headers`, `encoding` and `signature`, and accepts envelopes
//! without them. Which channel an envelope belongs to is not known here, but the signature covers
//! it.
//!
//! Read `error` (what a sender can get wrong), then `decode`, then `encode`.

mod decode;
mod encode;
mod error;

pub use decode::Decoder;
pub use decode::Envelope;
pub use encode::Fields;
pub use encode::Form;
pub use encode::Unfit;
pub use encode::encode;
pub use encode::encoded_bytes_max;
pub use error::Error;
pub use error::Field;

pub use crate::proto::signature::Key;
use crate::proto::signature::Text;
pub use crate::proto::signature::Unverified;

/// What a signature covers, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The Redis channel as it is published to, `ws:` included.
    pub channel: &'a [u8],
    /// The field `id`.
    pub id: Option<&'a str>,
    /// The field `userId`.
    pub user_id: Option<&'a str>,
    /// The field `timestamp`.
    pub timestamp_ms: u64,
    /// The field `payload`, unescaped but not decoded from base64.
    pub payload: &'a str,
}

impl Signed<'_> {
    /// The signature of these fields.
    #[must_use]
    pub fn sign(&self, key: &Key) -> String {
        self.text(key).sign()
    }

    fn text(&self, key: &Key) -> Text {
        key.text("ringway envelope 1")
            .bytes(self.channel)
            .nullable(self.id)
            .nullable(self.user_id)
            .number(self.timestamp_ms)
            .bytes(self.payload.as_bytes())
    }
}
