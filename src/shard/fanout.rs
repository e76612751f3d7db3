//! A publication to its subscribers here: encoded once per group, pushed once per subscriber.

use std::sync::Arc;

use crate::broker::message::Encoder;
use crate::broker::publication::Publication;
use crate::broker::relay::Audience;
use crate::metrics::IS_METERED;
use crate::shard::behind::Behind;
use crate::shard::state::Shard;
use crate::stdx::time::Now;

impl Shard {
    /// Puts a publication into the outboxes of all that want it. Nobody is looked up or allocated
    /// for per subscriber: the table holds slots, and a group shares one encoded frame.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        publication: &Arc<Publication>,
        audience: &Audience,
    ) {
        if !self.replays.is_empty() && !matches!(audience, Audience::Pattern(_)) {
            self.meet_live(now, publication);
            if publication.history.is_some() {
                self.replays.note(publication);
            }
        }
        let Self { table, connections, dirty, slow, behind, wheel, options, meter, .. } = self;
        let bytes_max = options.outbox_bytes_max;
        // Whoever says much at once without being a client waits for those who are behind.
        let ample_bytes = match publication.sender {
            None => Behind::ample_bytes(bytes_max),
            Some(_) => bytes_max,
        };
        // An outbox that is not empty is looked at again no later than this.
        let overdue_at = now.instant.after(options.outbox_timeout);
        let overdue_tick = wheel.tick_of(overdue_at);
        let mut encoder = Encoder::new(publication, meter);
        let mut sent_count = 0_u64;
        let groups = match audience {
            Audience::All => table.groups(&publication.channel),
            Audience::Exact => table.exact_groups(&publication.channel),
            Audience::Pattern(pattern) => table.pattern_groups(pattern),
        };
        for group in groups.filter(|it| !it.is_replaying()) {
            let frame = encoder.encode(group.version(), group.shown(), group.subscription_line());
            for member in group.members() {
                let slot = member.slot.0;
                let connection = connections.at_mut(slot).expect("the table holds open ones only");
                if connection.outbox.push(&frame, ample_bytes, now.instant).is_err() {
                    if connection.outbox.push(&frame, bytes_max, now.instant).is_err() {
                        slow.extend(connections.key_at(slot));
                        continue;
                    }
                    behind.note(slot);
                }
                sent_count += 1;
                connection.written_at = now.instant;
                let is_armed_late = overdue_tick < connection.armed;
                if !connection.is_dirty || is_armed_late {
                    let was_dirty = std::mem::replace(&mut connection.is_dirty, true);
                    if is_armed_late {
                        connection.armed = overdue_tick;
                    }
                    let key = connections.key_at(slot).expect("it was just there");
                    if !was_dirty {
                        dirty.push_back(key);
                    }
                    if is_armed_late {
                        wheel.arm(key, overdue_at);
                    }
                }
            }
        }
        let Publication { channel, message_id, .. } = &**publication;
        tracing::trace!(%channel, %message_id, sent_count, "given to subscribers");
        self.counters.messages_sent.add(sent_count);
        if IS_METERED {
            self.delivered.push(publication.received_at);
            self.fanned_out_count += u32::from(0 < sent_count);
        }
    }
}
