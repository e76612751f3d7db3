//! The tables, as numbered migrations, and the statements on them, for both kinds of SQL.

/// Which SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

/// One step of the schema. Each may be run again: what is there already stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Counts from 1.
    pub number: u32,
    /// For MySQL and MariaDB.
    mysql: &'static str,
    /// For SQLite.
    sqlite: &'static str,
}

impl Migration {
    /// The statement in this SQL.
    #[must_use]
    pub const fn statement(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Mysql => self.mysql,
            Dialect::Sqlite => self.sqlite,
        }
    }
}

/// Knows which of them were run; made before the first of them.
pub const LEDGER: &str = "CREATE TABLE IF NOT EXISTS ringway_migrations (\
    number INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)";

/// All steps, in order. A step that was released is never changed: a new one follows it.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        mysql: "\
CREATE TABLE IF NOT EXISTS messages (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  destination VARBINARY(512) NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  message_id VARBINARY(255) NOT NULL,
  sender_id BLOB NULL,
  content_type BLOB NULL,
  headers MEDIUMBLOB NULL,
  payload MEDIUMBLOB NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE KEY messages_place (destination, epoch, seq)
) ENGINE=InnoDB",
        sqlite: "\
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY,
  destination BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  message_id BLOB NOT NULL,
  sender_id BLOB,
  content_type BLOB,
  headers BLOB,
  payload BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (destination, epoch, seq)
)",
    },
    Migration {
        number: 2,
        mysql: "\
CREATE TABLE IF NOT EXISTS message_keys (
  destination VARBINARY(512) NOT NULL,
  user_key VARBINARY(1024) NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (destination, user_key),
  KEY message_keys_age (created_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
        sqlite: "\
CREATE TABLE IF NOT EXISTS message_keys (
  destination BLOB NOT NULL,
  user_key BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (destination, user_key)
) WITHOUT ROWID",
    },
    Migration {
        number: 3,
        mysql: "\
CREATE TABLE IF NOT EXISTS message_epoch (
  id INTEGER NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL
) ENGINE=InnoDB",
        sqlite: "\
CREATE TABLE IF NOT EXISTS message_epoch (
  id INTEGER NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL
)",
    },
    Migration {
        number: 4,
        mysql: "\
CREATE TABLE IF NOT EXISTS rooms (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  name VARBINARY(512) NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE KEY rooms_name (name)
) ENGINE=InnoDB",
        sqlite: "\
CREATE TABLE IF NOT EXISTS rooms (
  id INTEGER PRIMARY KEY,
  name BLOB NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
)",
    },
];

/// All migrations as a script that may be run again.
#[must_use]
pub fn script(dialect: Dialect) -> String {
    let mut script = format!("{LEDGER};\n");
    for it in MIGRATIONS {
        script.push_str(it.statement(dialect));
        script.push_str(";\n");
    }
    script
}

pub(super) const MIGRATED: &str = "SELECT number FROM ringway_migrations";
pub(super) const MIGRATE: &str =
    "INSERT INTO ringway_migrations (number, applied_at) VALUES (?, ?)";

pub(super) const EPOCH: &str = "SELECT epoch FROM message_epoch WHERE id = 1";
pub(super) const EPOCH_FIRST: &str = "INSERT INTO message_epoch (id, epoch) VALUES (1, ?)";
pub(super) const EPOCH_NEXT: &str = "UPDATE message_epoch SET epoch = ? WHERE id = 1 AND epoch = ?";

pub(super) const KEYS: &str = "SELECT destination, user_key, epoch, seq, created_at \
    FROM message_keys WHERE created_at >= ? ORDER BY created_at DESC LIMIT ?";
pub(super) const KEYS_OLD: &str = "DELETE FROM message_keys WHERE created_at < ?";

const INSERT_KEYS: &str =
    "INSERT INTO message_keys (destination, user_key, epoch, seq, created_at) VALUES ";
/// Columns of one row of [`INSERT_KEYS`].
const KEY_COLUMNS: usize = 5;
const INSERT: &str = "INSERT INTO messages (destination, epoch, seq, message_id, sender_id, \
    content_type, headers, payload, created_at) VALUES ";
/// Columns of one row of [`INSERT`].
const COLUMNS: usize = 9;

/// Page of what is behind a place, given twice.
pub(super) const PAGE: &str = "SELECT epoch, seq, message_id, sender_id, content_type, headers, \
    payload, created_at FROM messages \
    WHERE destination = ? AND (epoch > ? OR (epoch = ? AND seq > ?)) \
    ORDER BY epoch, seq LIMIT ?";
/// The place before the last so many.
pub(super) const BEFORE_LAST: &str = "SELECT epoch, seq FROM messages WHERE destination = ? \
    ORDER BY epoch DESC, seq DESC LIMIT 1 OFFSET ?";
pub(super) const HAS: &str =
    "SELECT seq FROM messages WHERE destination = ? AND epoch = ? AND seq = ?";

pub(super) const ROOMS: &str = "SELECT id, name FROM rooms WHERE id > ? ORDER BY id LIMIT ?";
/// The first so many.
pub(super) const OLDEST: &str = "SELECT epoch, seq, created_at FROM messages \
    WHERE destination = ? ORDER BY epoch, seq LIMIT ?";
/// Up to a place, whose epoch is given twice.
pub(super) const REMOVE: &str = "DELETE FROM messages \
    WHERE destination = ? AND (epoch < ? OR (epoch = ? AND seq <= ?))";

/// Makes sure that a destination has its row.
pub(super) fn insert_room(dialect: Dialect) -> String {
    let insert = "INSERT INTO rooms (name, created_at) VALUES (?, ?)";
    format!("{insert}{}", unless_there(dialect))
}

/// Stores so many rows of `messages`; those that are there stay as they are. In MySQL that is so of
/// one row only, and many of which one is there are an error.
///
/// With many rows MySQL goes on behind the `id` of one that is there, for the next of them too.
/// Where others write at the same time that is the `id` of one of theirs, and the next row would
/// pass for it and be lost.
pub(super) fn insert(dialect: Dialect, count: usize) -> String {
    let then = match dialect {
        Dialect::Mysql if 1 < count => "",
        Dialect::Mysql | Dialect::Sqlite => unless_there(dialect),
    };
    format!("{INSERT}{}{then}", tuples(count, COLUMNS))
}

/// Leaves a row with an `id` as it stands.
fn unless_there(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Mysql => " ON DUPLICATE KEY UPDATE id = id",
        Dialect::Sqlite => " ON CONFLICT DO NOTHING",
    }
}

/// Stores so many keys; one whose life had ended is used anew.
pub(super) fn insert_keys(dialect: Dialect, count: usize) -> String {
    let then = match dialect {
        Dialect::Mysql => {
            " ON DUPLICATE KEY UPDATE epoch = VALUES(epoch), seq = VALUES(seq), \
             created_at = VALUES(created_at)"
        }
        Dialect::Sqlite => {
            " ON CONFLICT DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq, \
             created_at = excluded.created_at"
        }
    };
    format!("{INSERT_KEYS}{}{then}", tuples(count, KEY_COLUMNS))
}

fn tuples(count: usize, columns: usize) -> String {
    let tuple = format!("({})", vec!["?"; columns].join(","));
    vec![tuple; count].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_a_gap_and_may_be_run_again() {
        for (it, number) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(it.number, number);
            for dialect in [Dialect::Mysql, Dialect::Sqlite] {
                assert!(it.statement(dialect).contains(" IF NOT EXISTS "));
                assert!(script(dialect).contains(it.statement(dialect)));
            }
        }
    }

    #[test]
    fn a_row_has_a_place_for_each_column() {
        let insert = insert(Dialect::Sqlite, 2);
        assert_eq!(insert.matches('?').count(), 2 * COLUMNS);
        assert_eq!(INSERT.matches(',').count() + 1, COLUMNS);
        assert_eq!(insert_keys(Dialect::Mysql, 3).matches('?').count(), 3 * KEY_COLUMNS);
        assert_eq!(INSERT_KEYS.matches(',').count() + 1, KEY_COLUMNS);
    }
}
