//! Tokens of strangers: each is refused for its own reason, and costs no cryptography twice.

mod keys;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac as mac;
use serde_json::Value;
use serde_json::json;

use crate::policy::auth::*;

const SECRET: &[u8] = b"a secret of the tests that has more than sixty-four bytes, to serve HS512";
const JWKS: &str = include_str!("../../../../tests/keys/jwks.json");
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn options() -> Options {
    let path = ClaimPath::new;
    Options {
        claims: ClaimOptions {
            issuers: vec!["https://issuer.example".into(), "other".into()],
            audiences: vec!["ringway".into()],
            leeway_ms: 5_000,
            required: vec![path("exp"), path("tenant.id")],
            user: path("sub"),
            roles: path("realm.roles"),
            kept: vec![path("rooms"), path("tenant.id"), path("nothing")],
        },
        token_bytes_max: 4096,
        remembered_max: 64,
    }
}

fn key_set(generation: u64) -> Arc<KeySet> {
    let mut keys = parse_keys(JWKS.as_bytes(), Source::Remote).unwrap().keys;
    keys.push(Key::secret(SECRET).unwrap());
    Arc::new(KeySet::new(keys, generation))
}

fn verifier() -> Verifier {
    Verifier::new(options(), key_set(1))
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": ["x", "ringway"], "sub": "amy",
        "exp": NOW + 60, "nbf": NOW - 1, "iat": NOW - 1, "jti": "t1",
        "realm": {"roles": ["admin", "user"]}, "rooms": [1, "two"], "tenant": {"id": "t"},
    })
}

/// The claims with `name` changed to `value`, or without it where that is null.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    claims
}

fn hmac() -> SigningKey {
    SigningKey::secret(SECRET)
}

fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of the secret with this header and these claims, as they are written.
fn raw(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let key = mac::Key::new(mac::HMAC_SHA256, SECRET);
    let signature = mac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[track_caller]
fn check(what: &str, token: &str, expected: Result<&str, Reject>) {
    let mut verifier = verifier();
    let first = verifier.verify(NOW_MS, token);
    let actual = first.as_ref().map(|it| &*it.claims().user).map_err(|it| *it);
    assert_eq!(actual, expected, "{what}");
    // Once more: the same answer, and no signature is checked again.
    let signatures = verifier.counts().signatures;
    let again = verifier.verify(NOW_MS, token);
    assert_eq!(again.map(|_| ()), expected.map(|_| ()), "{what}, again");
    assert_eq!(verifier.counts().signatures, signatures, "{what}: crypto on repeat");
}

#[test]
fn every_algorithm_is_served_by_its_own_key() {
    let pem = |text: &str| SigningKey::private_pem(text.as_bytes()).unwrap();
    let rsa = pem(include_str!("../../../../tests/keys/rsa.pem")).with_kid("rsa-1");
    let p256 = pem(include_str!("../../../../tests/keys/p256.pem")).with_kid("ec-1");
    let p384 = pem(include_str!("../../../../tests/keys/p384.pem")).with_kid("ec-2");
    let ed = pem(include_str!("../../../../tests/keys/ed25519.pem")).with_kid("ed-1");
    for (key, names) in [
        (hmac(), &["HS256", "HS384", "HS512"][..]),
        (p256, &["ES256"]),
        (p384, &["ES384"]),
        (ed, &["EdDSA"]),
    ] {
        for name in names {
            let key = key.clone().with_algorithm(name).unwrap();
            check(name, &key.sign(&claims()).unwrap(), Ok("amy"));
        }
    }
    // The JWK says RS256; the same key as PEM serves its whole family.
    check("RS256", &rsa.sign(&claims()).unwrap(), Ok("amy"));
    let pem = include_bytes!("../../../../tests/keys/rsa.pub.pem");
    let set = Arc::new(KeySet::new(parse_keys(pem, Source::File).unwrap().keys, 1));
    for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        let token = rsa.clone().with_algorithm(name).unwrap().sign(&claims()).unwrap();
        let mut verifier = Verifier::new(options(), Arc::clone(&set));
        assert!(verifier.verify(NOW_MS, &token).is_ok(), "{name}");
    }
    let token = rsa.with_algorithm("PS256").unwrap().sign(&claims()).unwrap();
    check("PS256 with a key that is bound to RS256", &token, Err(Reject::Algorithm));
}

#[test]
fn a_hostile_header_is_refused() {
    let all = claims().to_string();
    let good = hmac().sign(&claims()).unwrap();
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let es256 = SigningKey::private_pem(include_bytes!("../../../../tests/keys/p256.pem")).unwrap();
    let other =
        SigningKey::private_pem(include_bytes!("../../../../tests/keys/other.pem")).unwrap();
    let rsa_public = include_bytes!("../../../../tests/keys/rsa.pub.pem");
    let confused = SigningKey::secret(rsa_public).with_kid("rsa-1").sign(&claims()).unwrap();
    let table: &[(&str, String, Reject)] = &[
        ("nothing", String::new(), Reject::Missing),
        ("a word", "token".into(), Reject::Malformed),
        ("two parts", format!("{header}.{body}"), Reject::Malformed),
        ("four parts", format!("{good}.{signature}"), Reject::Malformed),
        ("five parts", format!("{good}..{signature}"), Reject::Malformed),
        ("no signature", format!("{header}.{body}."), Reject::Signature),
        ("blank in front", format!(" {good}"), Reject::Malformed),
        ("padded base64", format!("{header}=.{body}.{signature}"), Reject::Malformed),
        ("huge", format!("{good}{}", "A".repeat(4096)), Reject::TooLarge),
        ("a huge signature", format!("{good}{}", "A".repeat(1500)), Reject::TooLarge),
        ("a huge header", format!("{}.{body}.", part(&" ".repeat(1600))), Reject::TooLarge),
        ("none", raw(r#"{"alg":"none"}"#, &all), Reject::Unsigned),
        (
            "None without signature",
            format!("{}.{body}.", part(r#"{"alg":"NonE"}"#)),
            Reject::Unsigned,
        ),
        ("no alg", raw(r#"{"typ":"JWT"}"#, &all), Reject::Malformed),
        ("an unknown alg", raw(r#"{"alg":"HS257"}"#, &all), Reject::Algorithm),
        ("alg in another case", raw(r#"{"alg":"hs256"}"#, &all), Reject::Algorithm),
        ("alg twice", raw(r#"{"alg":"HS256","alg":"none"}"#, &all), Reject::Malformed),
        ("crit", raw(r#"{"alg":"HS256","crit":["exp"]}"#, &all), Reject::Malformed),
        ("encrypted", raw(r#"{"alg":"HS256","enc":"A128GCM"}"#, &all), Reject::Malformed),
        ("a kid that is no text", raw(r#"{"alg":"HS256","kid":1}"#, &all), Reject::Malformed),
        ("a kid of another alg", raw(r#"{"alg":"HS256","kid":"ec-1"}"#, &all), Reject::Algorithm),
        ("a public key as secret", confused, Reject::Algorithm),
        (
            "a key that is for encryption",
            raw(r#"{"alg":"RS256","kid":"enc-1"}"#, &all),
            Reject::Algorithm,
        ),
        (
            "another's key",
            other.clone().with_kid("ec-1").sign(&claims()).unwrap(),
            Reject::Signature,
        ),
        ("another's key, not named", other.sign(&claims()).unwrap(), Reject::Signature),
        (
            "tampered",
            format!("{header}.{}.{signature}", part(&all.replace("amy", "bob"))),
            Reject::Signature,
        ),
        (
            "signed by another alg",
            format!("{}.{body}.{signature}", part(r#"{"alg":"HS384"}"#)),
            Reject::Signature,
        ),
    ];
    for (what, token, reject) in table {
        check(what, token, Err(*reject));
    }
    check(
        "a kid that nobody has, and a key without one",
        &raw(r#"{"alg":"HS256","kid":"x"}"#, &all),
        Ok("amy"),
    );
    check("not named at all", &es256.sign(&claims()).unwrap(), Ok("amy"));
}

#[test]
fn hostile_claims_are_refused() {
    let sign = |claims: Value| hmac().sign(&claims).unwrap();
    let all = claims().to_string();
    let duplicate = all.replacen('{', r#"{"sub":"eve","#, 1);
    let nested = format!(r#"{{"sub":{}1{}}}"#, "[".repeat(400), "]".repeat(400));
    let table: &[(&str, String, Reject)] = &[
        ("expired", sign(with("exp", json!(NOW - 5))), Reject::Expired),
        ("no exp", sign(with("exp", Value::Null)), Reject::Claim),
        ("exp as text", sign(with("exp", json!("9999999999"))), Reject::Malformed),
        ("exp below zero", sign(with("exp", json!(-1))), Reject::Malformed),
        ("not yet valid", sign(with("nbf", json!(NOW + 6))), Reject::NotYetValid),
        ("issued in the future", sign(with("iat", json!(NOW + 6))), Reject::NotYetValid),
        ("wrong issuer", sign(with("iss", json!("https://issuer.example/"))), Reject::Issuer),
        ("no issuer", sign(with("iss", Value::Null)), Reject::Issuer),
        ("wrong audience", sign(with("aud", json!("ringway2"))), Reject::Audience),
        ("wrong audiences", sign(with("aud", json!(["a", ["ringway"]]))), Reject::Audience),
        ("no audience", sign(with("aud", Value::Null)), Reject::Audience),
        ("a claim is missing", sign(with("tenant", json!({"name": "t"}))), Reject::Claim),
        ("no user", sign(with("sub", Value::Null)), Reject::User),
        ("an empty user", sign(with("sub", json!(""))), Reject::User),
        ("a user with a line end", sign(with("sub", json!("amy\nadmin"))), Reject::User),
        ("a long user", sign(with("sub", json!("a".repeat(257)))), Reject::User),
        ("a user that is a list", sign(with("sub", json!(["amy"]))), Reject::User),
        ("a jti that is an object", sign(with("jti", json!({}))), Reject::Malformed),
        ("sub twice", raw(HS256, &duplicate), Reject::Malformed),
        ("nested", raw(HS256, &nested), Reject::Malformed),
        ("claims that are a list", raw(HS256, "[]"), Reject::Malformed),
        ("claims that are not whole", raw(HS256, r#"{"sub":"amy""#), Reject::Malformed),
    ];
    for (what, token, reject) in table {
        check(what, token, Err(*reject));
    }
    for (what, claims) in [
        ("as it is", claims()),
        ("expired within the leeway", with("exp", json!(NOW - 4))),
        ("in parts of a second", with("exp", json!(NOW as f64 + 0.5))),
        ("soon valid", with("nbf", json!(NOW + 5))),
        ("another issuer", with("iss", json!("other"))),
        ("one audience", with("aud", json!("ringway"))),
    ] {
        check(what, &sign(claims), Ok("amy"));
    }
    check("a user by number", &sign(with("sub", json!(42))), Ok("42"));
    check("a user of 256 bytes", &sign(with("sub", json!("a".repeat(256)))), Ok(&"a".repeat(256)));
}

#[test]
fn what_cannot_be_good_costs_no_signature() {
    let good = hmac().sign(&claims()).unwrap();
    let mut verifier = verifier();
    for token in ["", "a.b.c", &good.repeat(9), &good.replacen('e', "!", 1)] {
        assert!(verifier.verify(NOW_MS, token).is_err());
    }
    assert_eq!(verifier.counts(), Counts::default());
}

#[test]
fn a_token_that_came_too_early_is_judged_again_in_its_time_and_not_before() {
    let token = hmac().sign(&with("nbf", json!(NOW + 10))).unwrap();
    let mut verifier = verifier();
    for _ in 0..2 {
        // The leeway is 5 s.
        assert_eq!(verifier.verify(NOW_MS + 4_999, &token).unwrap_err(), Reject::NotYetValid);
    }
    let counts = Counts { signatures: 1, known_bad: 1, ..Counts::default() };
    assert_eq!(verifier.counts(), counts);
    assert!(verifier.verify(NOW_MS + 5_000, &token).is_ok());
    assert_eq!(verifier.counts().signatures, 2);
}

#[test]
fn without_a_key_for_it_no_signature_is_checked() {
    let mut verifier = Verifier::new(options(), Arc::new(KeySet::new(Vec::new(), 1)));
    assert_eq!(
        verifier.verify(NOW_MS, &hmac().sign(&claims()).unwrap()).unwrap_err(),
        Reject::UnknownKey
    );
    assert_eq!(verifier.counts(), Counts { keyless: 1, ..Counts::default() });
}

fn texts(list: &[Box<str>]) -> Vec<&str> {
    list.iter().map(|it| &**it).collect()
}

#[test]
fn what_rules_need_is_kept_and_nothing_else() {
    let mut verifier = verifier();
    let standing = verifier.verify(NOW_MS, &hmac().sign(&claims()).unwrap()).unwrap();
    let claims = standing.claims();
    assert_eq!(texts(claims.values(&ClaimPath::new("rooms"))), ["1", "two"]);
    assert_eq!(texts(claims.values(&ClaimPath::new("tenant.id"))), ["t"]);
    assert_eq!(claims.values(&ClaimPath::new("nothing")).len(), 0);
    assert_eq!(texts(&claims.roles), ["admin", "user"]);
    assert_eq!(claims.expires_at_ms, NOW_MS + 65_000);
    assert_eq!(claims.jti.as_deref(), Some("t1"));
    assert_eq!(claims.kept.len(), 2);
    let mut options = options();
    options.claims.roles = ClaimPath::new("scope");
    let mut verifier = Verifier::new(options, key_set(1));
    let token = hmac().sign(&with("scope", json!("read  write"))).unwrap();
    let standing = verifier.verify(NOW_MS, &token).unwrap();
    assert_eq!(texts(&standing.claims().roles), ["read", "write"]);
}

#[test]
fn a_session_falls_at_its_expiry_and_not_before() {
    let mut verifier = verifier();
    let mut standing = verifier.verify(NOW_MS, &hmac().sign(&claims()).unwrap()).unwrap();
    assert_eq!(verifier.check(NOW_MS + 64_999, &mut standing), Ok(()));
    assert_eq!(verifier.check(NOW_MS + 65_000, &mut standing), Err(Reject::Expired));
    let again = verifier.verify(NOW_MS + 65_000, &hmac().sign(&claims()).unwrap());
    assert_eq!(again.unwrap_err(), Reject::Expired);
    // And is known from then on.
    assert!(verifier.verify(NOW_MS + 65_000, &hmac().sign(&claims()).unwrap()).is_err());
    assert_eq!(
        verifier.counts(),
        Counts { signatures: 1, known_good: 1, known_bad: 1, keyless: 0 }
    );
}

#[test]
fn a_session_falls_with_its_key_and_with_no_other() {
    let mut verifier = verifier();
    let p256 = SigningKey::private_pem(include_bytes!("../../../../tests/keys/p256.pem")).unwrap();
    let p256 = p256.with_kid("ec-1").sign(&claims()).unwrap();
    let by_secret = hmac().sign(&claims()).unwrap();
    let mut one = verifier.verify(NOW_MS, &by_secret).unwrap();
    let mut two = verifier.verify(NOW_MS, &p256).unwrap();
    assert!(!verifier.set_keys(key_set(1)));
    assert!(verifier.set_keys(key_set(2)));
    assert_eq!(verifier.check(NOW_MS, &mut one), Ok(()));
    assert_eq!(verifier.check(NOW_MS, &mut two), Ok(()));
    let secret_only = KeySet::new(vec![Key::secret(SECRET).unwrap()], 3);
    assert!(verifier.set_keys(Arc::new(secret_only)));
    assert_eq!(verifier.check(NOW_MS, &mut one), Ok(()));
    assert_eq!(verifier.check(NOW_MS, &mut two), Err(Reject::UnknownKey));
    // What was remembered falls as well, both ways.
    assert!(verifier.verify(NOW_MS, &by_secret).is_ok());
    assert_eq!(verifier.verify(NOW_MS, &p256).unwrap_err(), Reject::UnknownKey);
    assert!(verifier.set_keys(key_set(4)));
    assert!(verifier.verify(NOW_MS, &p256).is_ok());
    assert_eq!(verifier.counts().signatures, 3);
}

#[test]
fn an_unknown_key_is_told_once() {
    let mut verifier = Verifier::new(options(), Arc::new(KeySet::new(Vec::new(), 1)));
    let token = hmac().with_kid("new").sign(&claims()).unwrap();
    assert!(!verifier.take_lack_of_key());
    assert_eq!(verifier.verify(NOW_MS, &token).unwrap_err(), Reject::UnknownKey);
    assert!(verifier.take_lack_of_key() && !verifier.take_lack_of_key());
}

#[test]
fn a_session_falls_when_it_is_revoked() {
    let mut verifier = verifier();
    let token = hmac().sign(&claims()).unwrap();
    let mut amy = verifier.verify(NOW_MS, &token).unwrap();
    let bob = with("sub", json!("bob"));
    let mut bob = verifier.verify(NOW_MS, &hmac().sign(&bob).unwrap()).unwrap();
    let until_ms = NOW_MS + 100_000;
    let whom = Whom::User { id: "amy".into(), issued_until_ms: NOW_MS };
    assert!(verifier.revoke(NOW_MS, &Revocation { whom, until_ms }));
    assert_eq!(verifier.check(NOW_MS, &mut amy), Err(Reject::Revoked));
    assert_eq!(verifier.check(NOW_MS, &mut bob), Ok(()));
    assert_eq!(verifier.verify(NOW_MS, &token).unwrap_err(), Reject::Revoked);
    let newer = with("iat", json!(NOW + 1));
    assert!(verifier.verify(NOW_MS, &hmac().sign(&newer).unwrap()).is_ok());
    assert!(verifier.revoke(NOW_MS, &Revocation { whom: Whom::Token("t1".into()), until_ms }));
    assert_eq!(verifier.check(NOW_MS, &mut bob), Err(Reject::Revoked));
}
