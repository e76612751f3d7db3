//! What is revoked is written down: whoever was away, or has just come, reads it.

use crate::broker::relay::redis::Control;
use crate::broker::relay::redis::Dropped;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options;
use crate::broker::relay::redis::State;
use crate::broker::relay::redis::tests::rig::Rig;
use crate::broker::relay::redis::tests::rig::START_MS;
use crate::broker::relay::redis::tests::rig::address;
use crate::policy::auth::Revocation;
use crate::policy::auth::Whom;
use crate::proto::control;
use crate::proto::control::Tokens;
use crate::proto::envelope::Key;

const KEY: &[u8] = b"secret";
/// Far longer ago than a message that is heard may be.
const LONG_AGO_MS: u64 = START_MS - 86_400_000;
const UNTIL_MS: u64 = START_MS + 86_400_000;

fn entry(control: control::Control<'_>, key: Option<&[u8]>) -> Vec<u8> {
    let message = control::Message { id: "a", timestamp_ms: LONG_AGO_MS, control, signature: None };
    let mut out = Vec::new();
    message.encode(&mut out, key.map(Key::new).as_ref());
    out
}

fn revoke(tokens: Tokens<'_>) -> control::Control<'_> {
    control::Control::Revoke { tokens, until_ms: Some(UNTIL_MS) }
}

fn token(jti: &str) -> Revocation {
    Revocation { whom: Whom::Token(jti.into()), until_ms: UNTIL_MS }
}

fn options(mode: Mode) -> Options {
    let mut options = Options::new(mode, vec![address("a")]);
    options.key = Some(Key::new(KEY));
    options.reads_revoked = true;
    options
}

/// All that the first task was told to revoke, in order.
fn revoked(rig: &Rig) -> Vec<Revocation> {
    let told = rig.tasks[0].controls.iter().flat_map(|it| match it {
        Control::Revoke(some) => some.clone(),
        Control::Drain { .. } | Control::Disconnect { .. } => panic!("told {it:?}"),
    });
    told.collect()
}

#[test]
fn the_record_is_read_at_the_start_and_after_each_reconnect() {
    let mut rig = Rig::with(options(Mode::PubSub));
    for jti in ["1", "2", "3", "4", "5"] {
        rig.server("a").revoked.push(entry(revoke(Tokens::Id(jti)), Some(KEY)));
    }
    let mut rig = rig.up();
    assert_eq!(revoked(&rig), ["1", "2", "3", "4", "5"].map(token));
    assert_eq!(rig.commands_count("a", "ZSCAN"), 3);
    rig.run(60_000);
    assert_eq!(rig.commands_count("a", "ZSCAN"), 3, "read once");

    rig.cut("a");
    rig.server("a").revoked = vec![entry(revoke(Tokens::User("b/c")), Some(KEY))];
    let mut rig = rig.up();
    let whom = Whom::User { id: "b/c".into(), issued_until_ms: LONG_AGO_MS };
    assert_eq!(revoked(&rig)[5..], [Revocation { whom, until_ms: UNTIL_MS }]);

    // One of the two links alone, in the middle of it.
    rig.server("a").revoked = vec![entry(revoke(Tokens::Id("6")), Some(KEY))];
    for at in [0, 1] {
        let before = revoked(&rig).len();
        rig.cut_one(0, at);
        rig.run(1_000);
        assert_eq!(revoked(&rig)[before..], [token("6")], "after the loss of link {at}");
    }
}

#[test]
fn only_what_is_signed_and_revokes_is_believed() {
    let mut rig = Rig::with(options(Mode::PubSub));
    rig.server("a").revoked = vec![
        entry(revoke(Tokens::Id("1")), None),
        entry(revoke(Tokens::Id("2")), Some(b"other")),
        b"jti".to_vec(),
        entry(control::Control::Drain { task: None }, Some(KEY)),
        entry(revoke(Tokens::Id("3")), Some(KEY)),
    ];
    let rig = rig.up();
    assert_eq!(revoked(&rig), [token("3")]);
    let counts = rig.tasks[0].redis.counts();
    let dropped = |why: Dropped| counts.dropped[why.index()];
    assert_eq!((dropped(Dropped::Unsigned), dropped(Dropped::BadSignature)), (1, 1));
    assert_eq!((dropped(Dropped::Control), counts.dropped_total()), (2, 4));
}

#[test]
fn who_needs_no_tokens_does_not_ask() {
    let mut options = options(Mode::PubSub);
    options.reads_revoked = false;
    let mut rig = Rig::with(options).up();
    assert_eq!(rig.commands_count("a", "ZSCAN"), 0);
}

#[test]
fn a_server_that_does_not_show_it_is_asked_again_and_serves_all_else() {
    let mut rig = Rig::with(options(Mode::PubSub));
    rig.server("a").forbidden.insert("ZSCAN".to_owned());
    rig.server("a").revoked.push(entry(revoke(Tokens::Id("1")), Some(KEY)));
    let mut rig = rig.up();
    rig.check_noted("allow ZSCAN on ringway:revoked");
    rig.run(12_000);
    assert_eq!(rig.tasks[0].redis.state(), State::Up);
    let told = rig.tasks[0].notes.iter().filter(|it| it.contains("ZSCAN")).count();
    assert_eq!((told, rig.commands_count("a", "ZSCAN")), (1, 3));
    rig.server("a").forbidden.clear();
    rig.run(5_000);
    assert_eq!(revoked(&rig), [token("1")]);
}
