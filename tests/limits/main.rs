//! Every limit of a shard at both sides of its bound: one shard, without sockets, in made-up time.

mod wire;
mod world;

mod admission;
mod asking;
mod connecting;
mod credit;
mod drain;
mod ending;
mod heart_beats;
mod outbox;
mod outbox_total;
mod receipts;
mod schemas;
mod sessions;
mod silence;
mod sizes;
mod tokens;
mod transactions;
mod waiting;
