//! Documents of keys: what is read from them, and what is refused.

use crate::policy::auth::*;

use super::JWKS;

#[track_caller]
fn check_keys(document: &str, source: Source, expected: Result<&[&str], &str>) {
    let actual = parse_keys(document.as_bytes(), source);
    match (actual, expected) {
        (Ok(parsed), Ok(expected)) => {
            let actual: Vec<String> = parsed.keys.iter().map(Key::describe).collect();
            assert_eq!(actual, expected);
        }
        (Err(error), Err(expected)) => {
            assert!(error.0.contains(expected), "{error}");
        }
        (actual, expected) => panic!("{actual:?} is not {expected:?}"),
    }
}

#[test]
fn a_key_set_is_read_from_jwks_and_from_pem() {
    let all = ["rsa-1 (RS256)", "ec-1 (ES256)", "ec-2 (ES384)", "ed-1 (EdDSA)"];
    check_keys(JWKS, Source::Remote, Ok(&all));
    check_keys(JWKS, Source::File, Ok(&all));
    let pems = [
        include_str!("../../../../tests/keys/ed25519.pub.pem"),
        include_str!("../../../../tests/keys/p384.pub.pem"),
    ];
    check_keys(&pems.concat(), Source::File, Ok(&["no kid (EdDSA)", "no kid (ES384)"]));
    let oct = r#"{"kty":"oct","kid":"s","alg":"HS256",
        "k":"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"}"#;
    check_keys(oct, Source::File, Ok(&["s (HS256)"]));
    check_keys(oct, Source::Remote, Err("can read"));
    check_keys(&oct.replace("HS256", "HS512"), Source::File, Err("does not fit"));
    check_keys(&oct.replace("HS256", "none"), Source::File, Err("not served"));
    check_keys(&oct.replace("MDEy", ""), Source::File, Err("at least 32"));
    let private = include_str!("../../../../tests/keys/p256.pem");
    check_keys(private, Source::File, Err("PRIVATE KEY"));
    check_keys(include_str!("../../../../tests/keys/rsa1024.pub.pem"), Source::File, Err("2048"));
    check_keys(
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        Source::File,
        Err("no RSA"),
    );
    check_keys("hello", Source::File, Err("neither"));
    check_keys(r#"{"keys":[]}"#, Source::Remote, Err("no key"));
    check_keys(r#"{"keys":[{"kty":"new"}]}"#, Source::Remote, Err("key 1"));
    let many = format!(r#"{{"keys":[{}]}}"#, vec![oct; KEYS_COUNT_MAX + 1].join(","));
    check_keys(&many, Source::File, Err("more than 64"));
    let broken = JWKS.replacen("P-256", "P-521", 1);
    check_keys(&broken, Source::Remote, Ok(&["rsa-1 (RS256)", "ec-2 (ES384)", "ed-1 (EdDSA)"]));
    check_keys(&broken, Source::File, Err("P-256 and P-384"));
}

#[test]
fn a_secret_is_long_and_secret() {
    assert!(Key::secret(&[7; 31]).is_err());
    let names = |bytes: usize| Key::secret(&vec![7; bytes]).unwrap().describe();
    assert_eq!(names(32), "no kid (HS256)");
    assert_eq!(names(48), "no kid (HS256, HS384)");
    assert_eq!(names(64), "no kid (HS256, HS384, HS512)");
    let pem = include_bytes!("../../../../tests/keys/rsa.pub.pem");
    assert!(Key::secret(pem).unwrap_err().0.contains("PEM"));
}

#[test]
fn a_key_without_its_name_is_the_same_and_with_another_is_not() {
    let parse = |text: &str| parse_keys(text.as_bytes(), Source::File).unwrap().keys[0].id();
    assert_eq!(parse(JWKS), parse(JWKS));
    assert_ne!(parse(JWKS), parse(&JWKS.replacen("rsa-1", "rsa-2", 1)));
    assert_ne!(parse(JWKS), parse(&JWKS.replacen("RS256", "RS384", 1)));
}
