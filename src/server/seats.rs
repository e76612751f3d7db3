//! The thread that tells the other tasks how many connections users have here, and hears from them
//! who has too many over all.

use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::broker::seats::UserSeats;
use crate::config::settings::Settings;
use crate::fleet::seats::BEAT_MS;
use crate::fleet::seats::Seats;
use crate::io::clock::Clock;
use crate::server::StartError;
use crate::server::reload::Live;
use crate::server::spawn;
use crate::shard;
use crate::shard::Notice;
use crate::shard::mailbox::Doorbell;
use crate::shard::mailbox::Mailboxes;
use crate::shard::mailbox::Outside;

/// How long a shard that has no room is left alone.
const PAUSE: Duration = Duration::from_millis(10);
/// News of shards that are taken at once.
const NEWS_MAX: usize = 64;

/// Starts the thread, where other tasks share a Redis with this one.
pub(super) fn start(
    settings: &Settings,
    live: &Live,
    clock: Clock,
    mailboxes: &mut [Mailboxes],
    doorbells: &Arc<[Doorbell]>,
) -> Result<(), StartError> {
    let Some(seats) = Seats::new(&settings.relay, &live.origin).map_err(StartError)? else {
        return Ok(());
    };
    let news = Mailboxes::open_news(mailboxes);
    let outside = Mailboxes::open(mailboxes, doorbells);
    let options = Arc::clone(&live.options);
    spawn("ringway-seats", move || run(seats, clock, &options, &news, outside))
}

fn run(
    mut seats: Seats,
    clock: Clock,
    options: &ArcSwap<shard::Options>,
    news: &mpsc::Receiver<Vec<UserSeats>>,
    mut outside: Outside,
) {
    let mut is_away = false;
    loop {
        let mut batch = match news.recv_timeout(Duration::from_millis(BEAT_MS)) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        batch.extend(news.try_iter().take(NEWS_MAX).flatten());
        let now_ms = clock.now(clock.unix_start_ms()).unix_ms;
        let max = options.load().admission.seats.user_max;
        match seats.settle(now_ms, batch, max) {
            Ok(crowded) => {
                is_away = false;
                let notice = Notice::Crowded(crowded.into());
                let is_news = !matches!(&notice, Notice::Crowded(users) if users.is_empty());
                while is_news && !outside.post(&notice) {
                    thread::sleep(PAUSE);
                }
            }
            Err(why) => {
                if !std::mem::replace(&mut is_away, true) {
                    tracing::warn!("limits.connections_per_user counts this task alone: {why}");
                }
            }
        }
    }
}
