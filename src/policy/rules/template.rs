//! A pattern in which claims may stand: `/topic/room.{claims.rooms}`.
//!
//! A value is put in as it is, with `%`, `/` and control characters percent-encoded as everywhere
//! in destinations. A value with a character of the pattern language is never put in: no
//! destination holds one, so it could only be meant to match more than itself.

use crate::policy::auth::ClaimPath;
use crate::policy::auth::Claims;
use crate::policy::pattern::Pattern;
use crate::stdx::percent;

/// How many combinations of values are tried; it bounds what one frame can cost.
const COMBINATIONS_COUNT_MAX: usize = 64;
/// Most claims in one template.
const CLAIMS_COUNT_MAX: usize = 4;

/// The characters of the pattern language.
const WILD: [char; 4] = ['*', '?', '{', '}'];
/// These, and those that are percent-encoded besides control characters.
const UNFIT: [char; 6] = ['*', '?', '{', '}', '%', '/'];

/// Whether a template is about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// It is.
    Yes,
    /// It would be, were a claim's value another.
    OtherValue,
    /// It is not.
    No,
}

#[derive(Clone, Debug)]
pub(super) struct Template {
    /// The template with any text in the place of claims; without claims it is all there is.
    outline: Pattern,
    pieces: Box<[Piece]>,
    /// Whether there is nothing in it but text and claims.
    is_plain: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    Claim(ClaimPath),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("a destination begins with /".into());
        }
        // `{claims.x}` is a variable of the pattern language too, and as such matches anything.
        let outline = Pattern::parse(text).map_err(|error| error.to_string())?;
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{claims.") {
            let (path, after) = after.split_once('}').ok_or("a { has no }")?;
            if path.is_empty() || path.contains([':', '{']) {
                return Err("{claims.<path>} names a claim and has no regex".into());
            }
            pieces.push(Piece::Text(before.into()));
            pieces.push(Piece::Claim(ClaimPath::new(path)));
            rest = after;
        }
        if CLAIMS_COUNT_MAX * 2 < pieces.len() {
            return Err(format!("more than {CLAIMS_COUNT_MAX} claims"));
        }
        if !pieces.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        let is_plain = |it: &Piece| match it {
            Piece::Text(text) => !text.contains(WILD),
            Piece::Claim(_) => true,
        };
        let is_plain = !pieces.is_empty() && pieces.iter().all(is_plain);
        Ok(Self { outline, pieces: pieces.into(), is_plain })
    }

    pub(super) fn claim_paths(&self) -> impl Iterator<Item = &ClaimPath> {
        self.pieces.iter().filter_map(|it| match it {
            Piece::Claim(path) => Some(path),
            Piece::Text(_) => None,
        })
    }

    /// Whether it matches `destination` with any of the claims' values.
    pub(super) fn matches(&self, claims: Option<&Claims>, destination: &str) -> Match {
        // The way of each message: text beside text, and nothing is made for it.
        if self.is_plain
            && let Some(claims) = claims
            && is_spelt(&self.pieces, claims, destination, &mut { COMBINATIONS_COUNT_MAX })
        {
            return Match::Yes;
        }
        if !self.outline.matches(destination) {
            return Match::No;
        }
        if self.pieces.is_empty() {
            return Match::Yes;
        }
        let found = self.any_filled(claims, destination, |it| it.matches(destination));
        if found { Match::Yes } else { Match::OtherValue }
    }

    /// Whether, with any of the claims' values, it covers all that `pattern` matches.
    pub(super) fn covers(&self, claims: Option<&Claims>, pattern: &Pattern) -> Match {
        if self.pieces.is_empty() {
            return if self.outline.covers(pattern) { Match::Yes } else { Match::No };
        }
        let found = self.any_filled(claims, pattern.as_str(), |it| it.covers(pattern));
        if found { Match::Yes } else { Match::No }
    }

    /// Whether `fits` any pattern that comes of values which stand in `asked`.
    fn any_filled(
        &self,
        claims: Option<&Claims>,
        asked: &str,
        fits: impl Fn(&Pattern) -> bool,
    ) -> bool {
        let Some(claims) = claims else { return false };
        let mut texts = vec![String::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => texts.iter_mut().for_each(|it| it.push_str(text)),
                Piece::Claim(path) => {
                    let values = claims.values(path).iter().filter_map(|it| literal(it, asked));
                    let values: Vec<String> = values.collect();
                    let filled = texts
                        .iter()
                        .flat_map(|text| values.iter().map(move |value| format!("{text}{value}")));
                    texts = filled.take(COMBINATIONS_COUNT_MAX).collect();
                }
            }
        }
        texts.iter().any(|text| Pattern::parse(text).is_ok_and(|it| fits(&it)))
    }
}

/// Whether the rest of a destination is just these pieces, with values that stand in destinations
/// as they are. `false` says nothing: so many tries may not be enough, nor values that are encoded.
fn is_spelt(pieces: &[Piece], claims: &Claims, rest: &str, tries: &mut usize) -> bool {
    let Some((piece, others)) = pieces.split_first() else { return rest.is_empty() };
    match piece {
        Piece::Text(text) => {
            rest.strip_prefix(&**text).is_some_and(|it| is_spelt(others, claims, it, tries))
        }
        Piece::Claim(path) => claims.values(path).iter().any(|value| {
            let Some(rest) = rest.strip_prefix(&**value) else { return false };
            if value.is_empty() || value.contains(UNFIT) || value.contains(char::is_control) {
                return false;
            }
            *tries = tries.saturating_sub(1);
            0 < *tries && is_spelt(others, claims, rest, tries)
        }),
    }
}

/// The value as it stands in a destination, if it can and does.
fn literal(value: &str, asked: &str) -> Option<String> {
    if value.is_empty() || value.contains(WILD) {
        return None;
    }
    let mut encoded = String::with_capacity(value.len());
    percent::push_encoded(&mut encoded, value);
    asked.contains(&encoded).then_some(encoded)
}
