//! Tokens that nobody is to believe, over TLS: each is refused for its own reason and with its own
//! code, and costs no cryptography when it comes again.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

use std::fs;
use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use ringway::policy::auth::SigningKey;
use rustls::ClientConfig;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Frame;
use crate::support::Server;
use crate::support::ask;
use crate::support::on_each_driver;
use crate::tls::Secure;

on_each_driver!(
    no_forgery_is_believed_and_none_costs_a_signature_twice,
    a_session_over_tls_renews_with_a_good_token_and_ends_with_a_forged_one,
);

const ES256: &str = r#"{"alg":"ES256","kid":"ec-1"}"#;

fn key_path(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn pem(name: &str) -> Vec<u8> {
    fs::read(key_path(name)).unwrap()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The server of these tests: it knows the public keys, whose tokens these are, and for whom.
fn start(driver: Driver) -> Secure {
    let keys = format!("auth.jwt.keys={}", key_path("jwks.json"));
    // What was refused is remembered by each core for itself.
    let settings = [
        "server.cores=1",
        &keys,
        "auth.jwt.issuer=https://issuer.example",
        "auth.jwt.audience=ringway",
        "auth.jwt.required_claims=exp,tenant",
        "auth.jwt.leeway=0",
        "auth.jwt.token_bytes=4KiB",
    ];
    Secure::start(driver, &settings)
}

/// Claims in which nothing is wrong.
fn claims() -> Value {
    let now = unix_seconds();
    json!({
        "iss": "https://issuer.example", "aud": "ringway", "sub": "amy", "tenant": "t",
        "iat": now - 1, "nbf": now - 1, "exp": now + 600,
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

fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The key that the server knows as `ec-1`.
fn issuer() -> SigningKey {
    SigningKey::private_pem(&pem("p256.pem")).unwrap().with_kid("ec-1")
}

/// A token of the issuer's key with this header and these claims, as they are written.
fn raw(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_ec_pem(&pem("p256.pem")).unwrap();
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES256).unwrap();
    format!("{signed}.{signature}")
}

/// What, the token, and the code that its ERROR has.
type Forgery = (&'static str, String, &'static str);

fn out_of_time_or_place() -> Vec<Forgery> {
    let now = unix_seconds();
    let sign = |claims: Value| issuer().sign(&claims).unwrap();
    vec![
        ("expired", sign(with("exp", json!(now - 1))), "expired"),
        ("not yet valid", sign(with("nbf", json!(now + 300))), "not-yet-valid"),
        ("issued in the future", sign(with("iat", json!(now + 300))), "not-yet-valid"),
        ("wrong issuer", sign(with("iss", json!("https://issuer.example.org"))), "issuer"),
        ("no issuer", sign(with("iss", Value::Null)), "issuer"),
        ("wrong audience", sign(with("aud", json!(["ringway2", "x"]))), "audience"),
        ("no audience", sign(with("aud", Value::Null)), "audience"),
        ("no end", sign(with("exp", Value::Null)), "claim"),
        ("no tenant", sign(with("tenant", Value::Null)), "claim"),
        ("no user", sign(with("sub", Value::Null)), "user"),
        ("a user with a line end", sign(with("sub", json!("amy\nrole:admin"))), "user"),
        ("revoked", sign(with("jti", json!("stolen"))), "revoked"),
    ]
}

fn signed_by_nobody() -> Vec<Forgery> {
    let good = issuer().sign(&claims()).unwrap();
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let other_body = part(with("sub", json!("admin")).to_string());
    let hmac =
        |key: &str, kid: &str| SigningKey::secret(&pem(key)).with_kid(kid).sign(&claims()).unwrap();
    let by = |key: &str, kid: &str| {
        SigningKey::private_pem(&pem(key)).unwrap().with_kid(kid).sign(&claims()).unwrap()
    };
    let none = |header: &str, signature: &str| format!("{}.{body}.{signature}", part(header));
    vec![
        ("none", none(r#"{"alg":"none"}"#, ""), "unsigned"),
        ("none, written otherwise, and signed", none(r#"{"alg":"nOnE"}"#, signature), "unsigned"),
        ("a public key as HMAC secret", hmac("p256.pub.pem", "ec-1"), "algorithm"),
        ("an RSA public key as HMAC secret", hmac("rsa.pub.pem", "rsa-1"), "algorithm"),
        (
            "a public key as HMAC secret, not named",
            {
                let key = SigningKey::secret(&pem("p256.pub.pem"));
                key.sign(&claims()).unwrap()
            },
            "algorithm",
        ),
        ("tampered claims", format!("{header}.{other_body}.{signature}"), "signature"),
        ("a tampered signature", format!("{header}.{body}.{}", flipped(signature)), "signature"),
        ("no signature", format!("{header}.{body}."), "signature"),
        ("another's key", by("other.pem", "ec-1"), "signature"),
        ("an unknown key", by("other.pem", "ec-9"), "unknown-key"),
        ("a known key for another algorithm", by("p256.pem", "ed-1"), "algorithm"),
        ("a key that is for encryption", by("rsa.pem", "enc-1"), "unknown-key"),
        ("an algorithm that nobody serves", raw(r#"{"alg":"ES257"}"#, "{}"), "algorithm"),
    ]
}

/// The signature with its first character changed.
fn flipped(signature: &str) -> String {
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{first}{}", &signature[1..])
}

fn out_of_form() -> Vec<Forgery> {
    let good = issuer().sign(&claims()).unwrap();
    let all = claims().to_string();
    let twice = all.replacen('{', r#"{"sub":"admin","#, 1);
    let nested = format!(r#"{{"sub":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let padded = with("pad", json!("p".repeat(4096)));
    vec![
        ("nothing", String::new(), "missing"),
        ("a word", "token".to_owned(), "malformed"),
        ("huge", issuer().sign(&padded).unwrap(), "too-large"),
        ("a huge header", format!("{}.e30.", part(" ".repeat(1600))), "too-large"),
        ("nested without end", raw(ES256, &nested), "malformed"),
        ("a token in a token", raw(r#"{"alg":"ES256","cty":"JWT"}"#, &good), "malformed"),
        ("encrypted", format!("{good}.{}.{}", part("x"), part("y")), "malformed"),
        ("one user, and another", raw(ES256, &twice), "malformed"),
        ("what must be understood", raw(r#"{"alg":"ES256","crit":["x"]}"#, &all), "malformed"),
    ]
}

/// Connects with a token, which is refused; gives the ERROR and the close code.
#[track_caller]
fn refused(secure: &Secure, config: &Arc<ClientConfig>, token: &str) -> (Frame, u16) {
    let mut client = secure.open(config);
    client.send(&format!("CONNECT|accept-version:1.2|Authorization:Bearer {token}||^@"));
    let error = client.answer();
    let code = client.closed();
    (error, code)
}

/// Signatures checked, tokens that were known, and tokens refused with this code.
fn counts(server: &Server, code: &str) -> [f64; 3] {
    [
        server.metric("websocket_auth_signatures_total", ""),
        server.metric("websocket_auth_known_total", ""),
        server.metric("websocket_auth_failures_total", &format!("reason=\"{code}\"")),
    ]
}

fn no_forgery_is_believed_and_none_costs_a_signature_twice(driver: Driver) {
    let secure = start(driver);
    let (server, config) = (&secure.server, secure.newest());
    let body = r#"{"jti":"stolen"}"#;
    let revoke = format!(
        "POST /api/tokens/revoke HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.admin,
        body.len()
    );
    assert_eq!(ask(server.admin, &revoke).status, 202);
    let all = [out_of_time_or_place(), signed_by_nobody(), out_of_form()].concat();
    for (what, token, code) in &all {
        let before = counts(server, code);
        let close = if ["expired", "revoked"].contains(code) { 4401 } else { 1008 };
        let (error, closed) = refused(&secure, &config, token);
        assert_eq!((&*error.command, error.header("code")), ("ERROR", *code), "{what}: {error:?}");
        assert_eq!(closed, close, "{what}");
        let first = counts(server, code);
        assert_eq!(first[2], before[2] + 1.0, "{what}");
        assert!(first[0] - before[0] <= 1.0, "{what}");

        let (again, closed) = refused(&secure, &config, token);
        assert_eq!((again, closed), (error, close), "{what}, again");
        let second = counts(server, code);
        // What is not even looked at need not be known.
        let is_known = !["missing", "too-large"].contains(code) || *what == "a huge header";
        let known = first[1] + f64::from(u8::from(is_known));
        assert_eq!(second, [first[0], known, first[2] + 1.0], "{what}, again");
    }
    // A head beyond what a frame may have is no token at all.
    let (error, closed) = refused(&secure, &config, &"A".repeat(20_000));
    assert_eq!((&*error.command, closed), ("ERROR", 1002));
    // And whoever has a good one comes in.
    let mut amy = connected(&secure, &config, &issuer().sign(&claims()).unwrap());
    amy.assert_open();
}

#[track_caller]
fn connected(secure: &Secure, config: &Arc<ClientConfig>, token: &str) -> Client {
    let mut client = secure.open(config);
    let answer = client.connect(&format!("accept-version:1.2|Authorization:Bearer {token}"));
    assert_eq!(answer.header("user-name"), "amy");
    client
}

fn a_session_over_tls_renews_with_a_good_token_and_ends_with_a_forged_one(driver: Driver) {
    let secure = start(driver);
    let config = secure.newest();
    let mut amy = connected(&secure, &config, &issuer().sign(&claims()).unwrap());
    let renew =
        |token: &str| format!("SEND|destination:/app/_session/token|Authorization:Bearer {token}");
    let longer = issuer().sign(&with("exp", json!(unix_seconds() + 6_000))).unwrap();
    amy.granted(&renew(&longer), "");
    amy.subscribe("s", "/topic/room.1");
    let [header, _, signature] = longer.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let body = part(with("exp", json!(unix_seconds() + 60_000)).to_string());
    amy.send(&format!("{}||^@", renew(&format!("{header}.{body}.{signature}"))));
    let error = amy.error_then_close(4401);
    assert_eq!(error.header("code"), "signature");
}
