//! Publications to envelopes and back. What comes from Redis was written by anybody: it is a
//! publication only if it agrees with its channel and every client can be shown it.

use std::fmt::Write;
use std::sync::Arc;

use crate::broker::identity;
use crate::broker::publication::Carried;
use crate::broker::publication::Historic;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::relay::redis::counts::Dropped;
use crate::broker::relay::redis::options::Options;
use crate::proto::envelope;
use crate::proto::envelope::Envelope;
use crate::stdx::time::Now;

/// Longest message id that is taken from an envelope; a longer one is made anew.
const ID_BYTES_MAX: usize = 128;

/// Appends the envelope of `publication`, which goes out as `name`.
///
/// # Errors
///
/// A refusal, when no envelope can carry it or when it would be larger than receivers take.
pub(super) fn push_envelope(
    out: &mut Vec<u8>,
    publication: &Publication,
    name: &str,
    options: &Options,
) -> Result<(), Refusal> {
    let bad = |text: String| Refusal::new(Code::BadPayload, text);
    let user;
    let (destination, user_id) = if publication.channel.starts_with('/') {
        (&*publication.channel, None)
    } else {
        let (id, queue) = split_user(&publication.channel)
            .ok_or_else(|| bad(format!("{} names no channel", publication.channel)))?;
        user = identity::decode(id)
            .ok_or_else(|| bad(format!("{} names no user", publication.channel)))?;
        (queue, Some(&*user))
    };
    let fields = envelope::Fields {
        destination,
        user_id,
        body: publication.body(),
        is_text: publication.is_text,
        timestamp_ms: publication.timestamp_ms,
        origin: &options.origin,
        id: &publication.message_id,
        seq: None,
        epoch: None,
        content_type: publication.content_type.as_deref(),
        sender: publication.sender.as_deref(),
        headers: &publication.headers,
        key: options.key.as_ref(),
        channel: name.as_bytes(),
    };
    let before_bytes = out.len();
    envelope::encode(out, &fields, options.form).map_err(|_| {
        bad("the body is binary, which relay.envelope = \"article\" cannot carry; send text".into())
    })?;
    let bytes = out.len() - before_bytes;
    let bytes_max = options.envelope_bytes_max();
    if bytes_max < bytes {
        return Err(bad(format!(
            "the message takes {bytes} bytes on the relay, which carries {bytes_max}; \
             send less, or fewer characters that JSON escapes"
        )));
    }
    Ok(())
}

/// The user, as encoded, and the queue of `user.<id>/queue/…`.
fn split_user(channel: &str) -> Option<(&str, &str)> {
    let rest = channel.strip_prefix("user.")?;
    Some(rest.split_at(rest.find('/')?))
}

/// Turns what Redis brings into publications; keeps its buffers from one to the next.
#[derive(Debug)]
pub(super) struct Translator {
    options: Arc<Options>,
    decoder: envelope::Decoder,
    user: String,
}

impl Translator {
    pub(super) fn new(options: Arc<Options>) -> Self {
        let decoder = envelope::Decoder::new(options.envelope_bytes_max());
        Self { options, decoder, user: String::new() }
    }

    /// The publication of an envelope that came as `name`, which is `channel`'s. Decodes `json` in
    /// place.
    ///
    /// # Errors
    ///
    /// Why it is dropped.
    pub(super) fn publication(
        &mut self,
        now: Now,
        name: &[u8],
        channel: &str,
        json: &mut [u8],
    ) -> Result<Publication, Dropped> {
        self.decode(now, name, channel, json, false)
    }

    /// The same of an envelope that was kept for a while.
    ///
    /// # Errors
    ///
    /// Why it is dropped.
    pub(super) fn kept(
        &mut self,
        now: Now,
        name: &[u8],
        channel: &str,
        json: &mut [u8],
    ) -> Result<Publication, Dropped> {
        self.decode(now, name, channel, json, true)
    }

    fn decode(
        &mut self,
        now: Now,
        name: &[u8],
        channel: &str,
        json: &mut [u8],
        is_kept: bool,
    ) -> Result<Publication, Dropped> {
        let envelope = self.decoder.decode(json).map_err(dropped)?;
        if let Some(key) = &self.options.key {
            let window_ms = self.options.hmac_window_ms();
            let now_ms = if is_kept { envelope.timestamp_ms } else { now.unix_ms };
            envelope.verify(key, name, now_ms, window_ms)?;
        }
        let destination = Self::destination(&mut self.user, &envelope, channel)?;
        let is_long = self.options.destination_bytes_max < envelope.destination.len();
        if is_long || destination.contains(|it: char| it.is_control() || it.is_whitespace()) {
            return Err(Dropped::Malformed);
        }
        let body = envelope.body().map_err(dropped)?;
        // What no client may send none need take: outboxes are made for such bodies.
        if self.options.message_bytes_max < body.len() {
            return Err(Dropped::Oversize);
        }
        let plain = |text: &&str| identity::is_plain_value(text) && text.len() <= ID_BYTES_MAX;
        let message_id = match envelope.id.filter(plain) {
            Some(id) => id.to_owned(),
            None => derived_id(&envelope, channel),
        };
        let carried = Carried {
            channel,
            destination,
            message_id,
            content_type: envelope.content_type,
            sender: envelope.sender.filter(|it| identity::is_plain_value(it)),
            timestamp_ms: match envelope.timestamp_ms {
                0 => now.unix_ms,
                stated_ms => stated_ms,
            },
            received_at: now.instant,
            body: &body,
        };
        let place = place_of(&envelope);
        let mut publication = Publication::from_relay(carried, envelope.headers.iter().copied());
        publication.history = place.map(|it| Box::new(Historic::at(it)));
        Ok(publication)
    }

    /// What receivers see; envelope and channel must agree, or anybody could write to anybody by
    /// way of a channel that is watched less.
    fn destination(
        user: &mut String,
        envelope: &Envelope<'_>,
        channel: &str,
    ) -> Result<String, Dropped> {
        let Some(stated_user) = envelope.user_id else {
            let agrees = envelope.destination == channel && channel.starts_with('/');
            return if agrees { Ok(channel.to_owned()) } else { Err(Dropped::Mismatch) };
        };
        let (id, queue) = split_user(channel).ok_or(Dropped::Mismatch)?;
        user.clear();
        identity::push_encoded(user, stated_user);
        if user != id || envelope.destination != queue {
            return Err(Dropped::Mismatch);
        }
        Ok(format!("/user{queue}"))
    }
}

/// The place in its history; not where numbers stand that no script gives.
fn place_of(envelope: &Envelope<'_>) -> Option<Place> {
    let is_given = |it: &u64| (1..1 << 53).contains(it);
    let (epoch, seq) = (envelope.epoch.filter(is_given)?, envelope.seq.filter(is_given)?);
    Some(Place { epoch, seq })
}

fn dropped(error: envelope::Error) -> Dropped {
    match error {
        envelope::Error::Oversize => Dropped::Oversize,
        envelope::Error::Json
        | envelope::Error::Missing(_)
        | envelope::Error::Type(_)
        | envelope::Error::Repeated(_)
        | envelope::Error::Character(_)
        | envelope::Error::TooManyHeaders
        | envelope::Error::Encoding
        | envelope::Error::Base64 => Dropped::Malformed,
    }
}

/// The id of a message whose envelope names none: made of what the envelope says, so that all tasks
/// make the same. Two messages that say the same in one millisecond share it.
fn derived_id(envelope: &Envelope<'_>, channel: &str) -> String {
    let mut digest = Digest::default();
    digest.update(channel);
    digest.update(envelope.payload);
    digest.update(envelope.origin.unwrap_or(""));
    digest.update(envelope.sender.unwrap_or(""));
    digest.update(envelope.content_type.unwrap_or(""));
    digest.update(envelope.id.unwrap_or(""));
    for (name, value) in &envelope.headers {
        digest.update(name);
        digest.update(value);
    }
    let mut id = String::with_capacity(40);
    // Writing to a String cannot fail.
    write!(id, "x{:x}-{:016x}", envelope.timestamp_ms, digest.0).expect("a String takes all");
    id
}

/// A hash that is the same in every build and on every machine, unlike std's. Not against enemies:
/// who can publish can name any id anyway.
#[derive(Default)]
struct Digest(u64);

impl Digest {
    fn update(&mut self, text: &str) {
        self.mix(text.len() as u64);
        for piece in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn mix(&mut self, word: u64) {
        let mut mixed = (self.0 ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.0 = mixed ^ (mixed >> 31);
    }
}
