//! One shard's judgement of tokens: keys, revocations, and what was decided before.

use std::sync::Arc;

use ring::digest;

use crate::policy::auth::Reject;
use crate::policy::auth::cache::Cache;
use crate::policy::auth::cache::Digest;
use crate::policy::auth::claims::ClaimOptions;
use crate::policy::auth::claims::Claims;
use crate::policy::auth::keys::KeyId;
use crate::policy::auth::keys::KeySet;
use crate::policy::auth::revoked::Revocation;
use crate::policy::auth::revoked::Revocations;
use crate::policy::auth::token::Unverified;

/// What a verifier is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// What claims must be like.
    pub claims: ClaimOptions,
    /// Longest token in bytes.
    pub token_bytes_max: usize,
    /// How many tokens are remembered that were believed, and how many that were not.
    pub remembered_max: usize,
}

/// A token that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// With which key.
    pub key: KeyId,
    /// The key set's number when it was last looked at.
    pub key_generation: u64,
    /// The revocations' number when it was last looked at.
    pub revocation_generation: u64,
}

/// What a session keeps of its token. While nothing was replaced or revoked since, a frame costs
/// it two comparisons of integers.
#[derive(Clone, Debug)]
pub struct Standing {
    verified: Arc<Verified>,
    /// The verifier's epoch in which it was last judged.
    epoch: u64,
}

/// How often the verifier did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Signatures that were checked.
    pub signatures: u64,
    /// Tokens that were known to be good.
    pub known_good: u64,
    /// Tokens that were known to be bad.
    pub known_bad: u64,
    /// Tokens that were judged, and whose key was missing.
    pub keyless: u64,
}

/// A decision that is remembered.
#[derive(Clone, Copy, Debug)]
struct Refused {
    reject: Reject,
    /// Other keys may judge otherwise.
    key_generation: u64,
    /// When its time comes, where that is all that it lacks.
    until_ms: u64,
}

/// Judges tokens, and remembers what it judged.
///
/// Invariant: `epoch` rises whenever the keys or the revocations change.
#[derive(Debug)]
pub struct Verifier {
    options: Options,
    keys: Arc<KeySet>,
    revoked: Revocations,
    epoch: u64,
    good: Cache<Arc<Verified>>,
    bad: Cache<Refused>,
    counts: Counts,
    lacks_key: bool,
}

impl Verifier {
    /// A verifier that believes tokens of these keys.
    #[must_use]
    pub fn new(options: Options, keys: Arc<KeySet>) -> Self {
        Self {
            good: Cache::new(options.remembered_max),
            bad: Cache::new(options.remembered_max),
            options,
            keys,
            revoked: Revocations::default(),
            epoch: 0,
            counts: Counts::default(),
            lacks_key: false,
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is revoked.
    #[must_use]
    pub fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// The keys in force.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Takes another set of keys; sessions whose key is gone fall at their next frame or sweep.
    /// `false` when it is the one in force.
    pub fn set_keys(&mut self, keys: Arc<KeySet>) -> bool {
        if keys.generation() == self.keys.generation() {
            return false;
        }
        self.keys = keys;
        self.epoch += 1;
        true
    }

    /// Takes other rules for claims. What was believed by the old ones stays believed; what comes
    /// from now on is judged anew.
    pub fn set_options(&mut self, options: Options) {
        self.good = Cache::new(options.remembered_max);
        self.bad = Cache::new(options.remembered_max);
        self.options = options;
    }

    /// Revokes; `false` when that was known.
    pub fn revoke(&mut self, now_ms: u64, revocation: &Revocation) -> bool {
        let is_new = self.revoked.revoke(now_ms, revocation);
        self.epoch += u64::from(is_new);
        is_new
    }

    /// Whether a token named a key that is not here since the last time this was asked.
    pub fn take_lack_of_key(&mut self) -> bool {
        std::mem::take(&mut self.lacks_key)
    }

    /// Judges a token. A token that was judged before costs a hash and a look, whatever it was.
    ///
    /// # Errors
    ///
    /// Why it is not believed.
    pub fn verify(&mut self, now_ms: u64, token: &str) -> Result<Standing, Reject> {
        if token.is_empty() {
            return Err(Reject::Missing);
        }
        if self.options.token_bytes_max < token.len() {
            return Err(Reject::TooLarge);
        }
        let digest = digest_of(token);
        if let Some(verified) = self.good.get(&digest) {
            self.counts.known_good += 1;
            let mut standing = Standing { verified, epoch: u64::MAX };
            // Forgotten when it falls: nobody else will be let in with it.
            if let Err(reject) = self.check(now_ms, &mut standing) {
                self.good.remove(&digest);
                self.bad.insert(digest, self.refused(reject));
                return Err(reject);
            }
            return Ok(standing);
        }
        if let Some(refused) = self.bad.get(&digest)
            && refused.key_generation == self.keys.generation()
            && now_ms < refused.until_ms
        {
            self.counts.known_bad += 1;
            return Err(refused.reject);
        }
        match self.judge(now_ms, token) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                self.good.insert(digest, Arc::clone(&verified));
                Ok(Standing { verified, epoch: self.epoch })
            }
            Err(refused) => {
                if refused.reject == Reject::UnknownKey {
                    self.lacks_key = true;
                    self.counts.keyless += 1;
                }
                self.bad.insert(digest, refused);
                Err(refused.reject)
            }
        }
    }

    /// Whether a session may go on with its token: called for every frame.
    ///
    /// # Errors
    ///
    /// Why it may not.
    pub fn check(&self, now_ms: u64, standing: &mut Standing) -> Result<(), Reject> {
        if standing.verified.claims.expires_at_ms <= now_ms {
            return Err(Reject::Expired);
        }
        if standing.epoch == self.epoch {
            return Ok(());
        }
        self.look_again(standing)
    }

    /// Something was replaced or revoked since the session's token was last looked at.
    fn look_again(&self, standing: &mut Standing) -> Result<(), Reject> {
        let verified = &standing.verified;
        if verified.key_generation != self.keys.generation() && !self.keys.has(verified.key) {
            return Err(Reject::UnknownKey);
        }
        if verified.revocation_generation != self.revoked.generation()
            && self.revoked.concerns(&verified.claims)
        {
            return Err(Reject::Revoked);
        }
        standing.epoch = self.epoch;
        Ok(())
    }

    fn judge(&mut self, now_ms: u64, token: &str) -> Result<Verified, Refused> {
        let unverified = Unverified::parse(token).map_err(|it| self.refused(it))?;
        let believed = unverified.verify(&self.keys);
        // Without a key for it nothing was computed.
        let is_free = matches!(believed, Err(Reject::UnknownKey | Reject::Algorithm));
        self.counts.signatures += u64::from(!is_free);
        let (key, all) = believed.map_err(|it| self.refused(it))?;
        let claims = self.options.claims.judge(now_ms, &all).map_err(|reject| {
            let begins_at_ms = self.options.claims.begins_at_ms(&all);
            let is_early = reject == Reject::NotYetValid;
            let until_ms = begins_at_ms.ok().filter(|_| is_early).unwrap_or(u64::MAX);
            Refused { until_ms, ..self.refused(reject) }
        })?;
        if self.revoked.concerns(&claims) {
            return Err(self.refused(Reject::Revoked));
        }
        Ok(Verified {
            claims,
            key,
            key_generation: self.keys.generation(),
            revocation_generation: self.revoked.generation(),
        })
    }

    fn refused(&self, reject: Reject) -> Refused {
        Refused { reject, key_generation: self.keys.generation(), until_ms: u64::MAX }
    }
}

impl Standing {
    /// The token.
    #[must_use]
    pub fn verified(&self) -> &Arc<Verified> {
        &self.verified
    }

    /// What it says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.verified.claims
    }
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    bytes
}
