//! Tokens: who is let in, for how long, what a new one changes, and what is told.

use std::sync::Arc;
use std::time::Duration;

use ringway::broker::session;
use ringway::metrics::CloseCode;
use ringway::metrics::TokenRejected;
use ringway::policy::auth::ClaimOptions;
use ringway::policy::auth::ClaimPath;
use ringway::policy::auth::Key;
use ringway::policy::auth::KeySet;
use ringway::policy::auth::Options as VerifierOptions;
use ringway::policy::auth::Revocation;
use ringway::policy::auth::SigningKey;
use ringway::policy::auth::Whom;
use ringway::policy::rules::Action;
use ringway::policy::rules::RuleOptions;
use ringway::policy::rules::Rules;
use ringway::proto::http::credentials::Sources;
use ringway::shard::AuthOptions;
use ringway::shard::ConnectionId;
use ringway::shard::Notice;
use ringway::stdx::cidr::Cidr;
use serde_json::Value;
use serde_json::json;

use crate::wire::Said;
use crate::wire::UPGRADE;
use crate::wire::upgrade_with;
use crate::world::World;

pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const OTHER_SECRET: &[u8] = b"fedcba9876543210fedcba9876543210";

fn key_set(secrets: &[&[u8]], generation: u64) -> Arc<KeySet> {
    let keys = secrets.iter().map(|it| Key::secret(it).expect("long enough")).collect();
    Arc::new(KeySet::new(keys, generation))
}

/// A world in which tokens are needed, with these rules or those of the contract.
pub(crate) fn world(rules: &[(Action, &str)]) -> World {
    world_with(rules, 20_000)
}

/// The same with so many places.
pub(crate) fn world_of(connections_max: usize) -> World {
    world_with(&[], connections_max)
}

fn world_with(rules: &[(Action, &str)], connections_max: usize) -> World {
    World::new(|options| {
        options.connections_max = connections_max;
        options.rules = if rules.is_empty() {
            Rules::default_for(true)
        } else {
            let row = |(action, pattern): &(Action, &str)| RuleOptions {
                action: *action,
                pattern: (*pattern).to_owned(),
                roles: Vec::new(),
                claims: Vec::new(),
            };
            Rules::new(&rules.iter().map(row).collect::<Vec<_>>()).expect("good rules")
        };
        options.session.auth = Some(session::AuthOptions {
            takes_authorization: true,
            takes_token: true,
            takes_passcode: true,
            notice: Duration::from_secs(60),
        });
        let claims = ClaimOptions {
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway_ms: 0,
            required: vec![ClaimPath::new("exp")],
            user: ClaimPath::new("sub"),
            roles: ClaimPath::new("roles"),
            kept: options.rules.claim_paths(),
        };
        options.ping_interval = Duration::from_secs(100_000);
        options.admission.trusted_proxies = vec![Cidr::parse("192.0.2.0/24").expect("a range")];
        options.auth = Some(AuthOptions {
            verifier: VerifierOptions { claims, token_bytes_max: 4096, remembered_max: 64 },
            keys: key_set(&[SECRET], 1),
            learns_keys: true,
            sources: Sources {
                has_authorization: true,
                cookie: Some("session".into()),
                query: Some("access_token".into()),
                has_subprotocol: true,
            },
        });
    })
}

/// A token of `user` that ends so many seconds from now.
fn token(world: &World, user: &str, seconds: u64) -> String {
    let now = world.now().unix_ms / 1000;
    let claims =
        json!({"sub": user, "exp": now + seconds, "iat": now, "jti": user, "rooms": ["1"]});
    sign(SECRET, &claims)
}

fn sign(secret: &[u8], claims: &Value) -> String {
    SigningKey::secret(secret).sign(claims).expect("it signs")
}

pub(crate) fn connect(world: &mut World, head: &str, lines: &str) -> ConnectionId {
    let id = world.upgraded(head);
    world.frame(id, "CONNECT", &format!("accept-version:1.2\n{lines}"), b"");
    id
}

#[track_caller]
fn session(world: &mut World, user: &str, seconds: u64) -> ConnectionId {
    let token = token(world, user, seconds);
    let id = connect(world, UPGRADE, &format!("Authorization:Bearer {token}\n"));
    let connected = world.only_frame(id);
    assert_eq!((&*connected.command, connected.header("user-name")), ("CONNECTED", user));
    id
}

/// Asserts that the session was ended for its token: one ERROR, then the close.
#[track_caller]
pub(crate) fn assert_ended(world: &mut World, id: ConnectionId, code: u16, message: &str) {
    let (actual, said) = world.closed(id);
    let [Said::Stomp(error)] = &said[..] else { panic!("not one ERROR: {said:?}") };
    assert_eq!((actual, &*error.command, error.header("message")), (code, "ERROR", message));
}

#[test]
fn a_token_may_stand_in_each_of_its_places() {
    let mut world = world(&[]);
    let token = token(&world, "amy", 60);
    let heads = [
        upgrade_with(&format!("Authorization: Bearer {token}\r\n")),
        upgrade_with(&format!("Cookie: a=b; session={token}\r\n")),
        upgrade_with(&format!("Sec-WebSocket-Protocol: v12.stomp, bearer.{token}\r\n")),
        UPGRADE.replace("/ws", &format!("/ws?access_token={token}")),
    ];
    let lines = [
        format!("Authorization:Bearer {token}\n"),
        format!("authorization:bearer {token}\n"),
        format!("token:{token}\n"),
        format!("login:eve\npasscode:{token}\n"),
    ];
    let by_head = heads.iter().map(|head| (head.as_str(), ""));
    let by_line = lines.iter().map(|line| (UPGRADE, line.as_str()));
    for (head, lines) in by_head.chain(by_line) {
        let id = connect(&mut world, head, lines);
        assert_eq!(world.only_frame(id).header("user-name"), "amy", "{lines}");
    }
    let counters = &world.counters().auth;
    assert_eq!((counters.rejected.of(TokenRejected::Missing).get()), 0);
    // The user of CONNECT comes before that of the upgrade.
    let bob = self::token(&world, "bob", 60);
    let id = connect(&mut world, &heads[0], &format!("token:{bob}\n"));
    assert_eq!(world.only_frame(id).header("user-name"), "bob");
}

#[test]
fn who_brings_no_good_token_is_not_let_in() {
    let mut world = world(&[]);
    let now = world.now().unix_ms / 1000;
    let expired = sign(SECRET, &json!({"sub": "amy", "exp": now}));
    let forged = sign(OTHER_SECRET, &json!({"sub": "amy", "exp": now + 60}));
    for (lines, code, message) in [
        ("login:amy\n".to_owned(), 1008, "a token is needed"),
        ("token:x\n".to_owned(), 1008, "the token is malformed"),
        ("Authorization:Basic YTpi\n".to_owned(), 1008, "a token is needed"),
        (format!("token:{forged}\n"), 1008, "the token's signature is wrong"),
        (format!("token:{expired}\n"), 4401, "the token has expired"),
    ] {
        let id = connect(&mut world, UPGRADE, &lines);
        assert_ended(&mut world, id, code, message);
    }
    let counters = world.counters();
    assert_eq!(counters.closed.of(CloseCode::Token).get(), 1);
    assert_eq!(counters.closed.of(CloseCode::Policy).get(), 4);
    assert_eq!(counters.auth.rejected.of(TokenRejected::Expired).get(), 1);
    assert_eq!(counters.auth.rejected.of(TokenRejected::Missing).get(), 2);
    // Whoever comes again with the same costs no signature.
    let signatures = counters.auth.signatures.get();
    let id = connect(&mut world, UPGRADE, &format!("token:{forged}\n"));
    assert_ended(&mut world, id, 1008, "the token's signature is wrong");
    assert_eq!(world.counters().auth.signatures.get(), signatures);
}

#[test]
fn a_session_ends_with_its_token_whether_it_speaks_or_not() {
    let mut world = world(&[]);
    let (silent, talker) = (session(&mut world, "amy", 10), session(&mut world, "bob", 10));
    world.wait_ms(9_900);
    world.assert_open(silent);
    world.assert_open(talker);
    world.skip(Duration::from_millis(100));
    world.frame(talker, "SEND", "destination:/app/x\nreceipt:r\n", b"");
    assert_ended(&mut world, talker, 4401, "the token has expired");
    world.wait_ms(100);
    assert_ended(&mut world, silent, 4401, "the token has expired");
}

#[test]
fn a_session_is_warned_before_its_end_and_renews_without_a_new_connection() {
    let mut world = world(&[]);
    let id = session(&mut world, "amy", 300);
    world.frame(id, "SUBSCRIBE", "id:s\ndestination:/user/queue/_session\n", b"");
    world.wait_ms(239_900);
    world.assert_open(id);
    world.wait_ms(200);
    let warning = world.only_frame(id);
    assert_eq!(warning.header("destination"), "/user/queue/_session");
    assert_eq!((warning.header("event"), warning.header("subscription")), ("token-expires", "s"));
    let body: Value = serde_json::from_str(warning.text()).expect("JSON");
    assert_eq!(body["renewAt"], "/app/_session/token");
    assert_eq!(body["expiresInMs"], 60_000);
    // Who subscribes late hears it late.
    world.frame(id, "SUBSCRIBE", "id:t\ndestination:/user/queue/_session\n", b"");
    assert_eq!(world.only_frame(id).header("subscription"), "t");

    let fresh = token(&world, "amy", 300);
    let lines =
        format!("destination:/app/_session/token\nAuthorization:Bearer {fresh}\nreceipt:r\n");
    world.frame(id, "SEND", &lines, b"");
    world.assert_receipts(id, &["r"]);
    world.wait_ms(200_000);
    world.assert_open(id);
    world.wait_ms(60_000);
    assert_eq!(world.bodies(id).len(), 2, "a warning for the new token, to both");
    world.wait_ms(40_000);
    assert_ended(&mut world, id, 4401, "the token has expired");
}

#[test]
fn a_renewal_that_brings_no_good_token_ends_the_session() {
    for (lines, message) in [
        (String::new(), "a token is needed"),
        ("Authorization:Bearer x\n".into(), "the token is malformed"),
        ("Authorization:Bearer BOB\n".into(), "the token is another user's"),
    ] {
        let mut world = world(&[]);
        let id = session(&mut world, "amy", 60);
        let lines = lines.replace("BOB", &token(&world, "bob", 60));
        let lines = format!("destination:/app/_session/token\n{lines}receipt:r\n");
        world.frame(id, "SEND", &lines, b"");
        assert_ended(&mut world, id, 4401, message);
    }
}

#[test]
fn a_frame_that_brings_a_token_is_checked_by_it() {
    let mut world = world(&[(Action::Send, "/topic/**")]);
    let id = session(&mut world, "amy", 60);
    let longer = token(&world, "amy", 600);
    let lines = format!("destination:/topic/x\nAuthorization:Bearer {longer}\nreceipt:r\n");
    for _ in 0..3 {
        world.frame(id, "SEND", &lines, b"");
        world.assert_receipts(id, &["r"]);
    }
    world.run_timer();
    assert_eq!(world.counters().auth.signatures.get(), 2, "two tokens, however often");
    world.wait_ms(100_000);
    world.assert_open(id);
    let forged = sign(OTHER_SECRET, &json!({"sub": "amy", "exp": 9_999_999_999_u64}));
    let lines = format!("destination:/topic/x\nAuthorization:Bearer {forged}\n");
    world.frame(id, "SEND", &lines, b"");
    assert_ended(&mut world, id, 1008, "the token's signature is wrong");
}

#[test]
fn keys_are_replaced_under_open_sessions() {
    let mut world = world(&[]);
    let ids: Vec<_> = (0..100).map(|it| session(&mut world, &format!("u{it}"), 600)).collect();
    let both = key_set(&[OTHER_SECRET, SECRET], 2);
    world.notice(&Notice::Keys(both));
    for id in &ids {
        world.assert_open(*id);
    }
    let now = world.now().unix_ms / 1000;
    let by_new = sign(OTHER_SECRET, &json!({"sub": "amy", "exp": now + 600}));
    let id = connect(&mut world, UPGRADE, &format!("token:{by_new}\n"));
    assert_eq!(world.only_frame(id).command, "CONNECTED");
    world.notice(&Notice::Keys(key_set(&[OTHER_SECRET], 3)));
    world.assert_open(id);
    for id in ids {
        assert_ended(&mut world, id, 4401, "the token's key is not known");
    }
}

#[test]
fn what_is_revoked_ends_at_once_and_stays_out() {
    let mut world = world(&[]);
    let (amy, bob) = (session(&mut world, "amy", 600), session(&mut world, "bob", 600));
    let until_ms = world.now().unix_ms + 1_000_000;
    let revoke = |whom| Notice::Revoked([Revocation { whom, until_ms }].into());
    world.notice(&revoke(Whom::Token("amy".into())));
    assert_ended(&mut world, amy, 4401, "the token was revoked");
    world.assert_open(bob);
    let again = token(&world, "amy", 600);
    let id = connect(&mut world, UPGRADE, &format!("token:{again}\n"));
    assert_ended(&mut world, id, 4401, "the token was revoked");
    let issued_until_ms = world.now().unix_ms;
    world.notice(&revoke(Whom::User { id: "bob".into(), issued_until_ms }));
    assert_ended(&mut world, bob, 4401, "the token was revoked");
    world.wait_ms(1_000);
    session(&mut world, "bob", 600);
}

#[test]
fn the_sessions_of_a_user_end_and_may_come_again() {
    let mut world = world(&[]);
    let ids = [session(&mut world, "a/b", 600), session(&mut world, "a/b", 600)];
    let bob = session(&mut world, "bob", 600);
    world.notice(&Notice::Disconnected("a/b".into()));
    for id in ids {
        assert_ended(&mut world, id, 1008, "disconnected by an operator");
    }
    world.assert_open(bob);
    session(&mut world, "a/b", 600);
    assert_eq!(world.counters().closed.of(CloseCode::Policy).get(), 2);
}

#[test]
fn without_authentication_a_user_is_who_says_so() {
    let mut world = World::new(|_| {});
    let amy = connect(&mut world, UPGRADE, "login:amy\n");
    assert_eq!(world.only_frame(amy).header("user-name"), "amy");
    world.notice(&Notice::Disconnected("amy".into()));
    assert_ended(&mut world, amy, 1008, "disconnected by an operator");
}

#[test]
fn rights_are_those_of_the_rules() {
    let mut guarded = world(&[]);
    let id = session(&mut guarded, "amy", 600);
    for (command, destination, code) in [
        ("SEND", "/topic/x", "forbidden"),
        ("SEND", "/user/bob/queue/x", "forbidden"),
        ("SEND", "/app/none", "no-route"),
        ("SUBSCRIBE", "/user/bob/queue/x", "forbidden"),
        ("SUBSCRIBE", "/foo", "no-route"),
    ] {
        guarded.frame(id, command, &format!("id:i\ndestination:{destination}\nreceipt:r\n"), b"");
        guarded.assert_refused(id, "r", code);
    }
    for destination in ["/topic/**", "/queue/x", "/user/queue/x", "/topic/server.events"] {
        let lines = format!("id:i\ndestination:{destination}\nreceipt:r\n");
        guarded.frame(id, "SUBSCRIBE", &lines, b"");
        guarded.assert_receipts(id, &["r"]);
    }

    let mut world = world(&[
        (Action::Subscribe, "/topic/room.{claims.rooms}"),
        (Action::Send, "/user/{claims.sub}/queue/**"),
    ]);
    let id = session(&mut world, "amy", 600);
    for (command, destination, is_allowed) in [
        ("SUBSCRIBE", "/topic/room.1", true),
        ("SUBSCRIBE", "/topic/room.2", false),
        ("SUBSCRIBE", "/topic/room.*", false),
        ("SUBSCRIBE", "/user/queue/x", false),
        ("SUBSCRIBE", "/user/queue/errors", true),
        ("SEND", "/user/amy/queue/x", true),
        ("SEND", "/user/%61my/queue/x", true),
        ("SEND", "/user/bob/queue/x", false),
        ("SEND", "/app/x", false),
    ] {
        let lines = format!("id:{destination}\ndestination:{destination}\nreceipt:r\n");
        world.frame(id, command, &lines, b"");
        let frames = world.frames(id);
        let answer = frames.last().expect("an answer");
        let expected = if is_allowed { "RECEIPT" } else { "ERROR" };
        assert_eq!(answer.command, expected, "{command} {destination}");
        if !is_allowed {
            assert!(answer.text().contains(destination), "{}", answer.text());
            assert!(!answer.text().contains("claims."), "the rule's internals: {}", answer.text());
        }
    }
}

#[test]
fn without_authentication_nothing_is_asked() {
    let mut world = World::new(|_| {});
    let id = connect(&mut world, UPGRADE, "login:amy\ntoken:x\nAuthorization:Bearer x\n");
    assert_eq!(world.only_frame(id).header("user-name"), "amy");
    world.frame(id, "SEND", "destination:/app/_session/token\nreceipt:r\n", b"");
    world.assert_refused(id, "r", "no-route");
    world.frame(id, "SEND", "destination:/user/bob/queue/x\nreceipt:r\n", b"");
    world.assert_refused(id, "r", "forbidden");
}
