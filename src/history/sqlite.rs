//! A store in one SQLite file, each commit on disk before it is answered.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::ErrorCode;
use rusqlite::OptionalExtension;
use rusqlite::ToSql;
use rusqlite::Transaction;
use rusqlite::params;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::KEY_LIFE_MS;
use crate::broker::relay::KEYS_MAX;
use crate::broker::relay::Kept;
use crate::history::rooms::Rooms;
use crate::history::rooms::STEP_MESSAGES;
use crate::history::rooms::STEP_ROOMS;
use crate::history::rooms::end_of;
use crate::history::row::Row;
use crate::history::row::headers_of;
use crate::history::schema;
use crate::history::schema::Dialect;
use crate::history::store::Error;
use crate::history::store::Forgotten;
use crate::history::store::Opened;
use crate::history::store::PAGE_COUNT;
use crate::history::store::Page;
use crate::history::store::Query;
use crate::history::store::Retention;
use crate::history::store::Store;

/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A database in a file, which is made where it is not there.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Option<Connection>,
    rooms: Rooms,
}

impl Sqlite {
    /// The store in this file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, connection: None, rooms: Rooms::default() }
    }

    /// Opens the file and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or written.
    pub fn migrate(&mut self, now_ms: u64) -> Result<(), Error> {
        let connection = Connection::open(&self.path).map_err(error)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
        // A RECEIPT outlives the loss of power too.
        connection.pragma_update(None, "synchronous", "FULL").map_err(error)?;
        let connection = self.connection.insert(connection);
        migrate(connection, now_ms).map_err(error)
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or_else(|| Error::Away("not open".to_owned()))
    }
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn open(&mut self, now_ms: u64) -> Result<Opened, Error> {
        self.migrate(now_ms)?;
        open(self.connection()?, now_ms).map_err(error)
    }

    fn append(&mut self, records: &[Arc<Publication>]) -> Result<(), Error> {
        let new = self.rooms.new_of(records);
        append(self.connection()?, records, &new).map_err(error)?;
        self.rooms.learn(new);
        Ok(())
    }

    fn read(&mut self, channel: &str, query: Query) -> Result<Page, Error> {
        read(self.connection()?, channel, query).map_err(error)
    }

    fn tidy(&mut self, now_ms: u64) -> Result<(), Error> {
        let limit = signed(now_ms.saturating_sub(KEY_LIFE_MS));
        self.connection()?.execute(schema::KEYS_OLD, [limit]).map(drop).map_err(error)
    }

    fn forget(&mut self, now_ms: u64, retention: Retention) -> Result<Forgotten, Error> {
        let walked = self.rooms.walked;
        let (forgotten, walked) =
            forget(self.connection()?, walked, now_ms, retention).map_err(error)?;
        self.rooms.walked = walked;
        Ok(forgotten)
    }
}

fn migrate(connection: &mut Connection, now_ms: u64) -> rusqlite::Result<()> {
    connection.execute_batch(schema::LEDGER)?;
    let transaction = connection.transaction()?;
    let done: Vec<u32> = transaction
        .prepare(schema::MIGRATED)?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for it in schema::MIGRATIONS.iter().filter(|it| !done.contains(&it.number)) {
        transaction.execute_batch(it.statement(Dialect::Sqlite))?;
        transaction.execute(schema::MIGRATE, params![it.number, signed(now_ms)])?;
    }
    transaction.commit()
}

fn open(connection: &mut Connection, now_ms: u64) -> rusqlite::Result<Opened> {
    let transaction = connection.transaction()?;
    let last: Option<i64> =
        transaction.query_row(schema::EPOCH, [], |row| row.get(0)).optional()?;
    let epoch = now_ms.max(last.map_or(0, |it| unsigned(it) + 1));
    match last {
        None => transaction.execute(schema::EPOCH_FIRST, [signed(epoch)])?,
        Some(last) => transaction.execute(schema::EPOCH_NEXT, [signed(epoch), last])?,
    };
    let kept = kept(&transaction, now_ms)?;
    transaction.commit()?;
    Ok(Opened { epoch, kept })
}

fn kept(transaction: &Transaction<'_>, now_ms: u64) -> rusqlite::Result<Vec<Kept>> {
    let since = signed(now_ms.saturating_sub(KEY_LIFE_MS));
    let mut statement = transaction.prepare(schema::KEYS)?;
    let rows = statement.query_map(params![since, signed(KEYS_MAX as u64)], |row| {
        let text = |at| row.get::<_, Vec<u8>>(at).map(|it| String::from_utf8_lossy(&it).into());
        let place = Place { epoch: unsigned(row.get(2)?), seq: unsigned(row.get(3)?) };
        let timestamp_ms = unsigned(row.get(4)?);
        Ok(Kept { channel: text(0)?, key: text(1)?, place, timestamp_ms })
    })?;
    let mut kept: Vec<Kept> = rows.collect::<Result<_, _>>()?;
    kept.reverse();
    Ok(kept)
}

fn append(
    connection: &mut Connection,
    records: &[Arc<Publication>],
    new_rooms: &BTreeSet<&str>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    if !new_rooms.is_empty() {
        let mut insert = transaction.prepare_cached(&schema::insert_room(Dialect::Sqlite))?;
        let created_at = records.first().map_or(0, |it| signed(it.timestamp_ms));
        for room in new_rooms {
            insert.execute(params![room.as_bytes(), created_at])?;
        }
    }
    {
        let mut insert = transaction.prepare_cached(&schema::insert(Dialect::Sqlite, 1))?;
        let mut insert_key =
            transaction.prepare_cached(&schema::insert_keys(Dialect::Sqlite, 1))?;
        for record in records {
            let Some(place) = record.place() else { continue };
            let (epoch, seq) = (signed(place.epoch), signed(place.seq));
            let channel = record.channel.as_bytes();
            let created_at = signed(record.timestamp_ms);
            insert.execute(params![
                channel,
                epoch,
                seq,
                record.message_id.as_bytes(),
                record.sender.as_ref().map(|it| it.as_bytes()),
                record.content_type.as_ref().map(|it| it.as_bytes()),
                headers_of(record),
                record.body(),
                created_at
            ])?;
            let key = record.history.as_ref().and_then(|it| it.key.as_ref());
            if let Some(key) = key {
                insert_key.execute(params![channel, key.as_bytes(), epoch, seq, created_at])?;
            }
        }
    }
    transaction.commit()
}

/// One step behind the room `walked`: what it came to, and how far the walk is.
fn forget(
    connection: &Connection,
    mut walked: u64,
    now_ms: u64,
    retention: Retention,
) -> rusqlite::Result<(Forgotten, u64)> {
    let rooms: Vec<(i64, Vec<u8>)> = connection
        .prepare_cached(schema::ROOMS)?
        .query_map(params![signed(walked), signed(STEP_ROOMS as u64)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut count = 0;
    for (id, destination) in &rooms {
        let removed = forget_room(connection, destination, now_ms, retention)?;
        count += removed as u64;
        if STEP_MESSAGES <= removed {
            // There may be more of it.
            return Ok((Forgotten { count, is_done: false }, walked));
        }
        walked = unsigned(*id);
    }
    let is_done = rooms.len() < STEP_ROOMS;
    Ok((Forgotten { count, is_done }, if is_done { 0 } else { walked }))
}

fn forget_room(
    connection: &Connection,
    destination: &[u8],
    now_ms: u64,
    retention: Retention,
) -> rusqlite::Result<usize> {
    let surplus = match retention.count {
        None => None,
        Some(count) => {
            let mut statement = connection.prepare_cached(schema::BEFORE_LAST)?;
            let found = statement.query_row(params![destination, count], place_of);
            found.optional()?
        }
    };
    let mut oldest = connection.prepare_cached(schema::OLDEST)?;
    let mut end = |count: usize| {
        let rows = oldest.query_map(params![destination, signed(count as u64)], |row| {
            Ok((place_of(row)?, unsigned(row.get(2)?)))
        })?;
        let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        Ok::<_, rusqlite::Error>(end_of(&rows, surplus, now_ms, retention))
    };
    // As a rule nothing is to be removed, and one row says so.
    let (Some(_), Some(end)) = (end(1)?, end(STEP_MESSAGES)?) else { return Ok(0) };
    let epoch = signed(end.epoch);
    connection.prepare_cached(schema::REMOVE)?.execute(params![
        destination,
        epoch,
        epoch,
        signed(end.seq)
    ])
}

/// The first two columns.
fn place_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { epoch: unsigned(row.get(0)?), seq: unsigned(row.get(1)?) })
}

fn read(connection: &Connection, channel: &str, query: Query) -> rusqlite::Result<Page> {
    let destination = channel.as_bytes();
    let (behind, is_known) = match query {
        Query::Last(0) => return Ok(Page { is_end: true, ..Page::default() }),
        Query::Last(count) => {
            let mut statement = connection.prepare_cached(schema::BEFORE_LAST)?;
            let found = statement.query_row(params![destination, count], place_of);
            (found.optional()?.unwrap_or_default(), false)
        }
        Query::After(place) => (place, false),
        Query::Since(place) => {
            let mut statement = connection.prepare_cached(schema::HAS)?;
            let key = params![destination, signed(place.epoch), signed(place.seq)];
            (place, statement.exists(key)?)
        }
    };
    let epoch = signed(behind.epoch);
    let wanted: [&dyn ToSql; 5] =
        [&destination, &epoch, &epoch, &signed(behind.seq), &signed(PAGE_COUNT as u64 + 1)];
    let mut statement = connection.prepare_cached(schema::PAGE)?;
    let mut rows = statement.query(wanted)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let row = Row {
            epoch: unsigned(row.get(0)?),
            seq: unsigned(row.get(1)?),
            message_id: row.get(2)?,
            sender_id: row.get(3)?,
            content_type: row.get(4)?,
            headers: row.get(5)?,
            payload: row.get(6)?,
            created_at: unsigned(row.get(7)?),
        };
        records.push(Arc::new(row.publication(channel)));
    }
    Ok(Page::of(records, is_known))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn error(error: rusqlite::Error) -> Error {
    let is_of_data = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
    );
    if is_of_data { Error::Rejected(error.to_string()) } else { Error::Away(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::store::tests::check_store;
    use crate::history::store::tests::said;
    use crate::history::store::tests::with_key;

    fn opened(path: PathBuf, now_ms: u64) -> (Sqlite, Opened) {
        let mut store = Sqlite::new(path);
        let opened = store.open(now_ms).unwrap();
        (store, opened)
    }

    #[test]
    fn it_is_a_store() {
        let folder = tempfile::tempdir().unwrap();
        check_store(&mut opened(folder.path().join("a.db"), 1).0);
    }

    #[test]
    fn what_is_stored_is_there_after_a_restart_and_the_epoch_rises() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (mut store, first) = opened(path.clone(), 5_000);
        assert_eq!((first.epoch, first.kept), (5_000, vec![]));
        let record = with_key("/topic/a", 5_000, 1, Some("bob\0k"));
        store.append(&[record.clone(), said("/topic/a", 5_000, 2)]).unwrap();
        drop(store);
        // The clock may have been set back.
        let now_ms = record.timestamp_ms;
        let (mut store, second) = opened(path.clone(), 1);
        assert_eq!(second.epoch, 5_001);
        assert_eq!(store.read("/topic/a", Query::Last(9)).unwrap().records.len(), 2);
        let kept = Kept {
            channel: "/topic/a".into(),
            key: "bob\0k".into(),
            place: Place { epoch: 5_000, seq: 1 },
            timestamp_ms: now_ms,
        };
        assert_eq!(second.kept, [kept]);
        store.tidy(now_ms + KEY_LIFE_MS).unwrap();
        assert_eq!(opened(path.clone(), now_ms + KEY_LIFE_MS).1.kept.len(), 1);
        store.tidy(now_ms + KEY_LIFE_MS + 1).unwrap();
        assert_eq!(opened(path, now_ms).1.kept, []);
    }

    #[test]
    fn a_file_that_cannot_be_made_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Sqlite::new(folder.path().join("no/such/folder.db"));
        assert!(matches!(store.open(1), Err(Error::Away(_))));
        assert!(matches!(store.append(&[]), Err(Error::Away(_))));
    }
}
