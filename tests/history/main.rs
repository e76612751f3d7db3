//! The history from outside: a real server on memory, on a SQLite file and on a real MariaDB, with
//! clients that leave, come back and ask for what they missed, and with the ends made for real.
#![expect(
    clippy::disallowed_methods,
    reason = "a peer of the server has clocks, threads and an environment of its own"
)]

mod disk;
#[path = "../edge/support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "the tests of the edge use the rest")]
mod support;
mod world;

#[path = "../relay/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests of the relay use the rest")]
mod relay;

mod archive;
mod draining;
mod ends;
mod fleet;
mod full;
mod guarded;
mod migrate;
mod once;
mod outage;
mod replay;
mod retention;
mod stored;
mod storm;

/// Makes a test of each claim for each kind of store.
macro_rules! on_each_store {
    ($($claim:ident),+ $(,)?) => {
        mod in_memory {
            $(#[test]
            fn $claim() {
                super::$claim(&crate::world::Store::Memory);
            })+
        }
        crate::on_each_database!($($claim),+);
    };
}

/// Makes a test of each claim for each kind of store that outlives the server.
macro_rules! on_each_database {
    ($($claim:ident),+ $(,)?) => {
        mod in_sqlite {
            $(#[test]
            fn $claim() {
                super::$claim(&crate::world::Store::sqlite());
            })+
        }
        mod in_mariadb {
            $(#[test]
            fn $claim() {
                super::$claim(&crate::world::Store::mariadb());
            })+
        }
    };
}

pub(crate) use on_each_database;
pub(crate) use on_each_store;
