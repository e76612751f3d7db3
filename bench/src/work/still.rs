//! Clients that send nothing: held still, or coming back all at once.

use std::time::Duration;

use crate::clock;
use crate::payload::Payloads;
use crate::plan::Scenario;
use crate::speech::Client;
use crate::speech::Heard;
use crate::swarm::Incoming;
use crate::swarm::Opened;
use crate::wire::Finished;
use crate::wire::Note;
use crate::wire::Order;
use crate::wire::Part;
use crate::wire::Tick;
use crate::work::LOOK_EVERY;
use crate::work::Pulse;
use crate::work::Work;
use crate::work::crowd::Crowd;
use crate::work::crowd::Due;
use crate::work::schedule::Schedule;
use crate::work::tell;
use crate::work::told;

/// A server that lost all its clients has this time to clean up, so that the storm is measured and
/// not the end before it.
const CALM: Duration = Duration::from_secs(1);
/// Messages of a history that are under way.
const AHEAD: usize = 256;

/// Holds clients for the time that the plan says.
///
/// # Errors
///
/// Not all could connect, or the reporting process is gone.
pub fn idle(work: &mut Work) -> anyhow::Result<Part> {
    let clients = work.clients(true);
    let opened = work.open(&clients, None)?;
    tell(&Note::Ready(told(&opened)))?;
    let mut crowd = silent_crowd(work)?;
    let order = work.await_order(&mut |speech, outlet, index, incoming| {
        crowd.handle(speech, outlet, index, incoming);
        Ok(())
    })?;
    let Order::Go { at_ns } = order else { anyhow::bail!("{order:?} is out of turn") };
    let started_at = clock::from_shared_ns(at_ns);
    hold(work, &mut crowd, started_at)?;
    finish(work, &mut crowd)?;
    let mut part = Part {
        troubles_count: crowd.troubles_count,
        first_trouble: crowd.first_trouble.take(),
        heart_beats_count: crowd.heart_beats_count,
        silences_count: crowd.silences_count,
        ..Part::default()
    };
    work.add_closings(&mut part, started_at);
    Ok(part)
}

/// Connects all clients, loses them, and connects them again at once, together with those that must
/// be refused; or, where they want what was said, has it said first and connects them once.
///
/// # Errors
///
/// Not all could connect the first time, or the reporting process is gone.
pub fn storm(work: &mut Work) -> anyhow::Result<Part> {
    let clients = work.clients(true);
    let opened = if work.plan().scenario == Scenario::ReplayStorm {
        if work.assignment.worker == 0 {
            make_history(work)?;
        }
        Opened::default()
    } else {
        work.open(&clients, None)?
    };
    work.swarm.hang_up_all();
    std::thread::sleep(CALM);
    tell(&Note::Ready(told(&opened)))?;
    let order = work.await_order(&mut |_, _, _, _| Ok(()))?;
    let Order::Go { at_ns } = order else { anyhow::bail!("{order:?} is out of turn") };
    let started_at = clock::from_shared_ns(at_ns);
    work.sleep_until(started_at);
    let retry_after = work.plan().load.retry_after;
    let retry_after = (retry_after != 0.0).then(|| Duration::from_secs_f64(retry_after));
    let idle_ns = work.swarm.idle_ns();
    let clients = [clients, work.rejected()].concat();
    let opened = work.open(&clients, Some((started_at, retry_after)))?;
    let ready_at = opened.ready_at.unwrap_or(started_at);
    let idle_ns = work.swarm.idle_ns() - idle_ns;
    let took_ns = clock::elapsed_ns(started_at, clock::now()).max(1);
    let mut crowd = silent_crowd(work)?;
    hold(work, &mut crowd, clock::now())?;
    tell(&Note::Finished(Finished {
        at_ns: clock::to_shared_ns(ready_at),
        busy_share: 1.0 - idle_ns as f64 / took_ns as f64,
        ..Finished::default()
    }))?;
    await_end(work, &mut crowd)?;
    let mut part = Part { storm: told(&opened), ..Part::default() };
    work.add_closings(&mut part, started_at);
    Ok(part)
}

/// Says as much in each room as the clients will ask for, and waits until all of it is stored.
fn make_history(work: &mut Work) -> anyhow::Result<()> {
    let plan = work.plan();
    let (rooms_count, number) = (plan.rooms_count(), plan.load.connections);
    let (total, body) = (rooms_count * plan.words.history as usize, vec![b'x'; plan.load.payload]);
    let deadline = clock::now() + plan.timeout();
    work.open(&[Client { number, ..Client::default() }], None)?;
    // What a server that has just started refuses is said again: one room after the other first.
    let (mut taken_count, mut is_refused) = (0, true);
    let (mut sent_count, mut ready_count) = (0, 0);
    let mut frame = Vec::new();
    while taken_count < rooms_count + total {
        let now = clock::now();
        anyhow::ensure!(now < deadline, "{taken_count} messages were stored in time");
        let ahead = if ready_count < rooms_count { 1 } else { AHEAD };
        if is_refused {
            sent_count = taken_count;
            is_refused = false;
        }
        let Work { swarm, speech, .. } = work;
        while sent_count < (taken_count + ahead).min(rooms_count + total) {
            speech.publish(sent_count % rooms_count, sent_count as u64, &body, &mut frame);
            swarm.send(0, now, |outlet| outlet.message(&frame))?;
            sent_count += 1;
        }
        let mut why = None;
        swarm.poll(LOOK_EVERY, &mut |_, _, incoming| {
            let Incoming::Message(message) = incoming else {
                anyhow::bail!("the one who makes the history was let go");
            };
            match speech.understand(message) {
                Heard::Receipt(_) => taken_count += 1,
                Heard::Trouble(what) => why = Some(what),
                Heard::Payload(_) | Heard::Text(_) | Heard::HeartBeat | Heard::Question(_) => {}
            }
            Ok(())
        })?;
        ready_count = ready_count.max(taken_count.min(rooms_count));
        if let Some(why) = why {
            anyhow::ensure!(ready_count < rooms_count, "a message was refused: {why}");
            is_refused = true;
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// A crowd that expects no message.
fn silent_crowd(work: &Work) -> anyhow::Result<Crowd> {
    let schedule = Schedule::new(0.0, 0.0, 1, 1)?;
    let payloads = Payloads::new(work.assignment.run, crate::payload::STAMP_BYTES)?;
    Ok(Crowd::new(schedule, payloads, &work.clients(true), Due::Sent(clock::now())))
}

fn hold(work: &mut Work, crowd: &mut Crowd, from: std::time::Instant) -> anyhow::Result<()> {
    let until = from + Duration::from_secs_f64(work.plan().load.seconds);
    let mut pulse = Pulse::new(from, work.plan().tick());
    loop {
        let now = clock::now();
        if until <= now {
            return Ok(());
        }
        let Work { swarm, speech, .. } = work;
        swarm.poll(LOOK_EVERY.min(until - now), &mut |outlet, index, incoming| {
            crowd.handle(speech, outlet, index, incoming);
            Ok(())
        })?;
        crowd.beat(swarm, now)?;
        let open_count = swarm.open_count() as u64;
        let troubles_count = crowd.troubles_count + swarm.closings().len() as u64;
        pulse.beat(now, || Tick { open_count, troubles_count, ..Tick::default() })?;
    }
}

fn finish(work: &mut Work, crowd: &mut Crowd) -> anyhow::Result<()> {
    let at_ns = clock::to_shared_ns(clock::now());
    tell(&Note::Finished(Finished { at_ns, ..Finished::default() }))?;
    await_end(work, crowd)
}

fn await_end(work: &mut Work, crowd: &mut Crowd) -> anyhow::Result<()> {
    let order = work.await_order(&mut |speech, outlet, index, incoming| {
        crowd.handle(speech, outlet, index, incoming);
        Ok(())
    })?;
    anyhow::ensure!(matches!(order, Order::End { .. }), "{order:?} is out of turn");
    Ok(())
}
