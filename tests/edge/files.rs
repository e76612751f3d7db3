//! Files that settings name: what cannot serve is told before anything starts, by `config check` as
//! by `serve`; what is named anew is read at a signal.
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test, and says which it was")]

use std::fs;

use rustix::process::Signal;

use crate::support::Driver;
use crate::support::Server;
use crate::support::on_each_driver;
use crate::support::program;
use crate::tls::testing::Authority;

on_each_driver!(a_certificate_of_another_path_is_shown_after_a_reload);

fn key_path(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What a command says of wrong settings, and its exit code; it must not serve.
fn told(command: &[&str], settings: &[String]) -> (String, Option<i32>) {
    let mut program = program();
    program.args(command).args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    for setting in settings {
        program.args(["--set", setting]);
    }
    let output = program.output().expect("it runs");
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

/// Both commands refuse the file of this setting with one line that says the part, and what to do.
#[track_caller]
fn check(setting: &str, beside: &[&str], file: &str, part: &str) {
    let mut settings: Vec<String> = beside.iter().map(|it| (*it).to_owned()).collect();
    settings.push(format!("{setting}={file}"));
    let (checked, code) = told(&["config", "check"], &settings);
    assert_eq!(code, Some(2), "{settings:?}: {checked}");
    assert_eq!(told(&["serve"], &settings), (checked.clone(), code), "{settings:?}");
    let begin = format!("ringway: {setting} = \"{}", file.get(..60).unwrap_or(file));
    assert!(checked.starts_with(&begin), "{checked} does not begin with {begin}");
    assert!(checked.contains(file) && checked.contains(part), "{part}: {checked}");
    let remedy = checked.trim_end().rsplit_once("; ").map(|(_, it)| it);
    assert!(
        remedy.is_some_and(|it| ["give ", "name "].iter().any(|verb| it.contains(verb))),
        "{checked}"
    );
    assert_eq!(checked.lines().count(), 1, "{checked}");
}

#[test]
fn what_cannot_serve_is_told_by_the_check_as_by_the_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("one", &["edge.test"]);
    let (_, other_key) = authority.issue("two", &["edge.test"]);
    let [certificate, key, other_key, ca] =
        [certificate, key, other_key, authority.ca()].map(|it| it.display().to_string());
    let write = |name: &str, text: &str| authority.write(name, text).display().to_string();
    let garbage = write("garbage.pem", "nothing that anybody could use");
    let empty = write("empty.pem", "");
    let broken_certificate =
        write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let locked = write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let lost = authority.path("lost").display().to_string();
    let folder = authority.path("").display().to_string();
    let secret = write("secret.json", r#"{"kty":"oct","k":"c2hvcnQ"}"#);
    let no_keys = write("none.json", r#"{"keys":[]}"#);
    let public_key = key_path("p256.pub.pem");

    // The setting that is named, the others beside it, the file, and a part of what is said.
    let with_key = format!("tls.key={key}");
    let with_certificate = format!("tls.cert={certificate}");
    let own = [with_certificate.as_str(), with_key.as_str()];
    let url = "auth.jwt.jwks_url=https://127.0.0.1:1/";
    let redis = "relay.url=rediss://127.0.0.1:1";
    let table: &[(&str, &[&str], &str, &str)] = &[
        ("tls.cert", &[&with_key], &lost, "No such file"),
        ("tls.cert", &[&with_key], &folder, "Is a directory"),
        ("tls.cert", &[&with_key], &empty, "holds no certificate"),
        ("tls.cert", &[&with_key], &garbage, "holds no certificate"),
        ("tls.cert", &[&with_key], &key, "holds no certificate"),
        ("tls.cert", &[&with_key], &broken_certificate, "of no use"),
        ("tls.key", &[&with_certificate], &lost, "No such file"),
        ("tls.key", &[&with_certificate], &certificate, "holds no private key"),
        ("tls.key", &[&with_certificate], &public_key, "holds no private key"),
        ("tls.key", &[&with_certificate], &locked, "without a passphrase"),
        ("tls.key", &[&with_certificate], &other_key, "is not the key of"),
        ("tls.client_ca", &own, &lost, "No such file"),
        ("tls.client_ca", &own, &key, "holds no certificate"),
        ("tls.client_ca", &own, &broken_certificate, "of no use"),
        ("auth.jwt.keys", &[], &lost, "No such file"),
        ("auth.jwt.keys", &[], &empty, "neither a JWK set"),
        ("auth.jwt.keys", &[], &garbage, "neither a JWK set"),
        ("auth.jwt.keys", &[], &no_keys, "holds no key"),
        ("auth.jwt.keys", &[], &secret, "has 5 bytes"),
        ("auth.jwt.keys", &[], &certificate, "\"CERTIFICATE\""),
        ("auth.jwt.keys", &[], &key_path("p256.pem"), "\"PRIVATE KEY\""),
        ("auth.jwt.keys", &[], &key_path("rsa1024.pub.pem"), "less than 2048 bits"),
    ];
    for (setting, beside, file, part) in table {
        check(setting, beside, file, part);
    }

    let good = [
        with_certificate.clone(),
        with_key.clone(),
        format!("tls.client_ca={ca}"),
        format!("auth.jwt.keys={public_key}"),
        url.to_owned(),
        format!("auth.jwt.jwks_ca={ca}"),
        redis.to_owned(),
        format!("relay.tls_ca={ca}"),
    ];
    assert_eq!(told(&["config", "check"], &good).1, Some(0));
}

#[test]
fn authorities_that_cannot_vouch_are_told_by_the_check_as_by_the_start() {
    let authority = Authority::new();
    let (_, key) = authority.issue("one", &["edge.test"]);
    let key = key.display().to_string();
    let write = |name: &str, text: &str| authority.write(name, text).display().to_string();
    let garbage = write("garbage.pem", "nothing that anybody could use");
    let broken_certificate =
        write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let lost = authority.path("lost").display().to_string();
    let url = "auth.jwt.jwks_url=https://127.0.0.1:1/";
    let redis = "relay.url=rediss://127.0.0.1:1";
    let database = ["history.url=mysql://127.0.0.1:1/ringway", "history.tls=true"];
    let table: &[(&str, &[&str], &str, &str)] = &[
        ("auth.jwt.jwks_ca", &[url], &lost, "No such file"),
        ("auth.jwt.jwks_ca", &[url], &garbage, "holds no certificate"),
        ("auth.jwt.jwks_ca", &[url], &broken_certificate, "of no use"),
        ("history.tls_ca", &database, &lost, "No such file"),
        ("history.tls_ca", &database, &key, "holds no certificate"),
        ("history.tls_ca", &database, &broken_certificate, "of no use"),
        ("relay.tls_ca", &[redis], &lost, "No such file"),
        ("relay.tls_ca", &[redis], &key, "holds no certificate"),
        ("relay.tls_ca", &[redis], &broken_certificate, "of no use"),
    ];
    for (setting, beside, file, part) in table {
        check(setting, beside, file, part);
    }
}

#[test]
fn routes_that_lead_nowhere_are_told_by_the_check_as_by_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ringway.toml");
    let path = file.display().to_string();
    for (route, part) in [
        ("match = '/topic/x'\nto = '/topic/x'", "begin with /app/"),
        ("match = '/app/x'\nto = '/app/y'", "begin with /topic/"),
        ("match = '/app/{room}'\nto = '/topic/{name}'", "does not bind"),
        ("match = '/app/x'\nto = '/topic/x'\nschema = 'lost.json'", "lost.json"),
    ] {
        fs::write(&file, format!("[[route]]\n{route}\n")).unwrap();
        let (checked, code) = told(&["config", "check", "--config", &path], &[]);
        assert_eq!(code, Some(2), "{route}: {checked}");
        assert!(checked.starts_with("ringway: route.") && checked.contains(part), "{checked}");
        assert_eq!(told(&["serve", "--config", &path], &[]), (checked, code));
    }
}

fn a_certificate_of_another_path_is_shown_after_a_reload(driver: Driver) {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ringway.toml");
    let configure = |name: &str| {
        let (certificate, key) = authority.issue(name, &["edge.test"]);
        let [certificate, key] = [certificate, key].map(|it| it.display().to_string());
        let text = format!("[tls]\ncert = '{certificate}'\nkey = '{key}'\n");
        fs::write(&file, text).unwrap();
        certificate
    };
    configure("one");
    let mut command = program();
    command.arg("--config").arg(&file);
    let mut server = Server::start_as(command, driver, &[]);
    let certificate = configure("two");
    server.signal(Signal::HUP);
    let line = server.await_line("the certificate was read again");
    assert!(line.contains(&certificate), "{line}");
}
