//! Judges a run with a fault: what was sent, answered and heard, against what is promised.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

/// A receipt that came so long before a fault promises that everybody hears the message.
pub(super) const MARGIN: Duration = Duration::from_millis(100);

/// A message of the load: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    /// Who sent it.
    pub(super) sender: u32,
    /// Its place among those of its sender, which sends them in this order.
    pub(super) number: u32,
}

/// How the server answered a SEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// With a RECEIPT.
    Accepted(Instant),
    /// With an ERROR of this code.
    Refused(String),
    /// Not at all.
    Missing,
}

/// One SEND and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Which.
    pub(super) id: Id,
    /// When it was sent.
    pub(super) at: Instant,
    /// How it was answered.
    pub(super) answer: Answer,
}

/// When the relay was not to be relied on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Just before it was made.
    pub(super) begin: Instant,
    /// When every process was seen to hear every other again.
    pub(super) end: Instant,
    /// Two servers take messages between: what is sent then has no one order.
    pub(super) is_split: bool,
}

/// What a good run had; printed, so that a run that proves little shows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// SENDs that were answered with a RECEIPT.
    pub(super) accepted_count: usize,
    /// SENDs that were refused.
    pub(super) refused_count: usize,
    /// Messages that everybody had to hear.
    pub(super) owed_count: usize,
}

/// The codes with which a relay may refuse a SEND.
const CODES: &[&str] = &["relay-unknown", "relay-unavailable"];

/// Checks the promises, and tells the first that is broken.
///
/// - Each SEND has one answer, and a refusal is one of the relay's.
/// - Nobody hears what was not sent, or hears anything twice.
/// - Each subscriber hears what had its RECEIPT [`MARGIN`] before the fault, and what was sent
///   after its end.
/// - Accepted messages of one sender come in the order sent, and two subscribers hear what both
///   hear in the same order; but what is sent while two servers take messages, which has none.
pub(super) fn judge(sent: &[Sent], heard: &[Vec<Id>], fault: Fault) -> Result<Figures, String> {
    let mut figures = Figures::default();
    for one in sent {
        match &one.answer {
            Answer::Accepted(_) => figures.accepted_count += 1,
            Answer::Refused(code) if CODES.contains(&code.as_str()) => figures.refused_count += 1,
            Answer::Refused(code) => return Err(format!("{:?} was refused as {code:?}", one.id)),
            Answer::Missing => return Err(format!("{:?} was never answered", one.id)),
        }
    }
    let by_id: HashMap<Id, &Sent> = sent.iter().map(|one| (one.id, one)).collect();
    for (subscriber, ids) in heard.iter().enumerate() {
        let mut seen = HashSet::new();
        for id in ids {
            if !by_id.contains_key(id) {
                return Err(format!("subscriber {subscriber} heard {id:?}, which nobody sent"));
            }
            if !seen.insert(*id) {
                return Err(format!("subscriber {subscriber} heard {id:?} twice"));
            }
        }
        for one in sent.iter().filter(|one| is_owed(one, fault)) {
            figures.owed_count += usize::from(subscriber == 0);
            if !seen.contains(&one.id) {
                let before = fault.begin.saturating_duration_since(one.at);
                let after = one.at.saturating_duration_since(fault.end);
                return Err(format!(
                    "subscriber {subscriber} never heard {one:?}, sent {before:?} before the \
                     fault or {after:?} after its end"
                ));
            }
        }
        let ids = ordered(ids, &by_id, fault);
        in_order_of_senders(subscriber, &ids, &by_id)?;
    }
    let heard: Vec<Vec<Id>> = heard.iter().map(|ids| ordered(ids, &by_id, fault)).collect();
    for (index, one) in heard.iter().enumerate() {
        for (other_index, other) in heard.iter().enumerate().skip(index + 1) {
            agree(one, other).map_err(|(id, next)| {
                format!("subscribers {index} and {other_index} differ: {id:?} and {next:?}")
            })?;
        }
    }
    Ok(figures)
}

fn is_owed(one: &Sent, fault: Fault) -> bool {
    match one.answer {
        Answer::Accepted(at) => at + MARGIN <= fault.begin || fault.end <= one.at,
        Answer::Refused(_) | Answer::Missing => false,
    }
}

/// What has a place in the one order.
fn ordered(ids: &[Id], by_id: &HashMap<Id, &Sent>, fault: Fault) -> Vec<Id> {
    let is_split = |id: &Id| {
        // What was sent just before may have waited.
        let at = by_id[id].at;
        fault.is_split && fault.begin <= at + MARGIN && at <= fault.end
    };
    ids.iter().copied().filter(|id| !is_split(id)).collect()
}

/// What was refused as unknown may have waited in a socket and come late, so only accepted ones
/// have a place.
fn in_order_of_senders(
    subscriber: usize,
    ids: &[Id],
    by_id: &HashMap<Id, &Sent>,
) -> Result<(), String> {
    let mut last: HashMap<u32, u32> = HashMap::new();
    for id in ids.iter().filter(|id| matches!(by_id[id].answer, Answer::Accepted(_))) {
        if let Some(before) = last.insert(id.sender, id.number)
            && id.number < before
        {
            return Err(format!("subscriber {subscriber} heard {id:?} after number {before}"));
        }
    }
    Ok(())
}

/// Whether what both heard comes in one order; else the first pair that does not.
fn agree(one: &[Id], other: &[Id]) -> Result<(), (Id, Id)> {
    let places: HashMap<Id, usize> = other.iter().copied().zip(0..).collect();
    let mut last: Option<(usize, Id)> = None;
    for id in one {
        let Some(place) = places.get(id) else { continue };
        if let Some((before, earlier)) = last
            && *place < before
        {
            return Err((earlier, *id));
        }
        last = Some((*place, *id));
    }
    Ok(())
}

/// Six messages of two senders, one second apart, heard by two subscribers; the fault lasts from
/// 2.5 s to 3.5 s.
fn run() -> (Vec<Sent>, Vec<Vec<Id>>, Fault) {
    let start = Instant::now();
    let at = |millis: u64| start + Duration::from_millis(millis);
    let ids: Vec<Id> = (0..6).map(|it| Id { sender: it % 2, number: it / 2 }).collect();
    let sent = ids.iter().zip(0..).map(|(id, second): (_, u64)| {
        let sent_at = at(second * 1_000);
        Sent { id: *id, at: sent_at, answer: Answer::Accepted(sent_at + Duration::from_millis(10)) }
    });
    let fault = Fault { begin: at(2_500), end: at(3_500), is_split: false };
    (sent.collect(), vec![ids.clone(), ids], fault)
}

fn lose(heard: &mut [Vec<Id>], subscriber: usize, place: usize) {
    heard[subscriber].remove(place);
}

#[track_caller]
fn check_fails(change: impl FnOnce(&mut [Sent], &mut [Vec<Id>], &mut Fault), complaint: &str) {
    let (mut sent, mut heard, mut fault) = run();
    change(&mut sent, &mut heard, &mut fault);
    let told = judge(&sent, &heard, fault).expect_err("a broken promise is told");
    assert!(told.contains(complaint), "{told}");
}

#[test]
fn a_run_that_keeps_its_promises_is_good() {
    let (mut sent, mut heard, fault) = run();
    let figures = Figures { accepted_count: 6, refused_count: 0, owed_count: 5 };
    assert_eq!(judge(&sent, &heard, fault), Ok(figures));
    // During the fault, a message may be lost for some although it was accepted, and one that was
    // refused as unknown may be heard.
    heard[1].remove(3);
    assert!(judge(&sent, &heard, fault).is_ok());
    sent[3].answer = Answer::Refused("relay-unknown".to_owned());
    let figures = Figures { accepted_count: 5, refused_count: 1, owed_count: 5 };
    assert_eq!(judge(&sent, &heard, fault), Ok(figures));
    // It may even come late, as long as it does so for all.
    let late = heard[0].remove(3);
    heard.iter_mut().for_each(|ids| ids.push(late));
    assert!(judge(&sent, &heard, fault).is_ok());
}

#[test]
fn a_lost_message_is_noticed_on_either_side_of_the_fault() {
    check_fails(|_, heard, _| lose(heard, 1, 1), "subscriber 1 never heard");
    check_fails(|_, heard, _| lose(heard, 0, 4), "subscriber 0 never heard");
}

#[test]
fn the_margin_ends_where_it_says() {
    // The third message had its receipt 490 ms before the fault.
    check_fails(
        |_, heard, fault| {
            lose(heard, 0, 2);
            fault.begin -= Duration::from_millis(390);
        },
        "subscriber 0 never heard",
    );
    let (sent, mut heard, mut fault) = run();
    lose(&mut heard, 0, 2);
    fault.begin -= Duration::from_millis(391);
    assert!(judge(&sent, &heard, fault).is_ok());
}

#[test]
fn a_doubled_message_is_noticed_even_when_it_was_not_owed() {
    check_fails(
        |_, heard, _| {
            let again = heard[0][3];
            heard[0].push(again);
        },
        "twice",
    );
}

#[test]
fn a_reordered_message_is_noticed() {
    // Both messages are of one sender, for both subscribers.
    check_fails(|_, heard, _| heard.iter_mut().for_each(|it| it.swap(0, 2)), "after number");
    // They are of two senders, for one subscriber only.
    check_fails(|_, heard, _| heard[0].swap(0, 1), "differ");
}

/// Only while two servers take messages, and only what was sent then.
#[test]
fn an_order_that_nobody_promised_is_not_missed() {
    for (place, is_good) in [(3, true), (4, false)] {
        let (sent, mut heard, mut fault) = run();
        heard[0].swap(place, place + 1);
        assert!(judge(&sent, &heard, fault).is_err());
        fault.is_split = true;
        assert_eq!(judge(&sent, &heard, fault).is_ok(), is_good, "{place}");
    }
}

#[test]
fn a_message_from_nowhere_is_noticed() {
    check_fails(|_, heard, _| heard[1].push(Id { sender: 7, number: 0 }), "nobody sent");
}

#[test]
fn an_answer_that_is_missing_or_strange_is_noticed() {
    check_fails(|sent, _, _| sent[3].answer = Answer::Missing, "never answered");
    check_fails(
        |sent, _, _| sent[3].answer = Answer::Refused("limit".to_owned()),
        "refused as \"limit\"",
    );
}
