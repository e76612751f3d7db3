//! Messages from senders to subscribers: at fixed times, or the next when all have the last.

use std::collections::BTreeMap;

use crate::clock;
use crate::redis::Redis;
use crate::sequence::Verdict;
use crate::speech::Client;
use crate::speech::Heard;
use crate::swarm::Incoming;
use crate::wire::Finished;
use crate::wire::Note;
use crate::wire::Order;
use crate::wire::Part;
use crate::work::Work;
use crate::work::phase::Phase;
use crate::work::tell;
use crate::work::told;

/// Opens the clients, runs the two phases, and tells what came of them.
///
/// # Errors
///
/// Not all could connect, a closed loop was broken, or the reporting process is gone.
pub fn run(work: &mut Work) -> anyhow::Result<Part> {
    let mut clients = work.clients(true);
    let mut opened = work.open(&clients, None)?;
    let load = work.plan().load.clone();
    let mut senders = BTreeMap::new();
    let mut speakers = Vec::new();
    for sender in 0..load.senders {
        let number = load.connections + usize::from(sender);
        if work.is_mine(number) {
            if load.redis.is_none() {
                senders.insert(sender, clients.len() + speakers.len());
                speakers.push(Client { number, room: None, ..Client::default() });
            } else {
                senders.insert(sender, usize::MAX);
            }
        }
    }
    let more = work.open(&speakers, None)?;
    opened.ready.add(&more.ready.buckets());
    opened.ready_count += more.ready_count;
    clients.extend(speakers);
    let mut redis = match &load.redis {
        Some(url) => Some(Redis::connect(url, &load.redis_channel, &load.redis_envelope)?),
        None => None,
    };
    tell(&Note::Ready(told(&opened)))?;
    let mut warm_up_verdict = Verdict::default();
    let mut order = await_order(work)?;
    if let Order::WarmUp { at_ns } = order {
        ensure_in_time(work, at_ns)?;
        let mut phase = Phase::new(work, &clients, &senders, redis.as_mut(), at_ns, false)?;
        phase.run()?;
        phase.settle()?;
        warm_up_verdict = phase.part(&[]).verdict;
        tell(&Note::WarmedUp)?;
        order = await_order(work)?;
    }
    let Order::Go { at_ns } = order else { anyhow::bail!("{order:?} is out of turn") };
    ensure_in_time(work, at_ns)?;
    for (index, _) in clients.iter().enumerate().filter(|(_, client)| client.is_slow) {
        work.swarm.pause(index)?;
    }
    let mut phase = Phase::new(work, &clients, &senders, redis.as_mut(), at_ns, true)?;
    let idle_ns = phase.work.swarm.idle_ns();
    phase.run()?;
    phase.drain()?;
    let ended_at = phase.crowd.heard_at;
    let idle_ns = phase.work.swarm.idle_ns() - idle_ns;
    let took_ns = clock::elapsed_ns(clock::from_shared_ns(at_ns), clock::now()).max(1);
    tell(&Note::Finished(Finished {
        at_ns: clock::to_shared_ns(ended_at),
        busy_share: (1.0 - idle_ns as f64 / took_ns as f64).max(0.0),
        limits: phase.limits(),
    }))?;
    let limits = phase.await_end()?;
    phase.settle()?;
    let part = Part { warm_up_verdict, ..phase.part(&limits) };
    Ok(part)
}

/// Who hears of a beginning when it is over has thrown away what others sent since then, and would
/// call it lost: that is no fault of the server's.
fn ensure_in_time(work: &Work, at_ns: u64) -> anyhow::Result<()> {
    let is_alone = work.assignment.workers == 1;
    anyhow::ensure!(
        is_alone || clock::now() <= clock::from_shared_ns(at_ns),
        "a generator process heard too late that it shall begin: the machine is too busy for it"
    );
    Ok(())
}

/// Waits for an order between two phases; what comes meanwhile was not asked for.
fn await_order(work: &mut Work) -> anyhow::Result<Order> {
    work.await_order(&mut |speech, outlet, _, incoming| {
        if let Incoming::Message(message) = incoming
            && let Heard::Question(answer) = speech.understand(message)
        {
            outlet.message(answer.as_bytes());
        }
        Ok(())
    })
}
