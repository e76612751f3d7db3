//! A store in MySQL or MariaDB, over one connection that is opened again when it is lost.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::OptsBuilder;
use mysql_async::SslOpts;
use mysql_async::TxOpts;
use mysql_async::Value;
use mysql_async::prelude::Queryable;
use tokio::runtime::Runtime;

use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::broker::relay::KEY_LIFE_MS;
use crate::broker::relay::KEYS_MAX;
use crate::broker::relay::Kept;
use crate::history::address::Address;
use crate::history::address::Tls;
use crate::history::mysql_rows::ROWS_MAX;
use crate::history::mysql_rows::key_of;
use crate::history::mysql_rows::row_of;
use crate::history::mysql_rows::rows_of;
use crate::history::rooms::Rooms;
use crate::history::rooms::STEP_MESSAGES;
use crate::history::rooms::STEP_ROOMS;
use crate::history::rooms::end_of;
use crate::history::row::Row;
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

/// How long the server may take for what it is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks again where the server is and who we are.
type Refresh = Box<dyn Fn() -> Option<Address> + Send>;

/// A database of a server. It has a runtime of its own, on the thread that asks.
pub struct Mysql {
    address: Address,
    refresh: Option<Refresh>,
    /// The address was tried, and did not hold.
    has_failed: bool,
    runtime: Option<Runtime>,
    connection: Option<Conn>,
    rooms: Rooms,
}

impl Mysql {
    /// The store in this database.
    #[must_use]
    pub fn new(address: Address) -> Self {
        let (runtime, connection, rooms) = (None, None, Rooms::default());
        Self { address, refresh: None, has_failed: false, runtime, connection, rooms }
    }

    /// The same, which asks `refresh` before it connects again: a password may have changed.
    #[must_use]
    pub fn with_refresh(self, refresh: impl Fn() -> Option<Address> + Send + 'static) -> Self {
        Self { refresh: Some(Box::new(refresh)), ..self }
    }

    /// Connects and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// When the server is away or does not allow it.
    pub fn migrate(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.runtime.is_none() {
            let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
            self.runtime = Some(built.map_err(|error| Error::Away(error.to_string()))?);
        }
        self.connection = None;
        if self.has_failed
            && let Some(address) = self.refresh.as_ref().and_then(|refresh| refresh())
        {
            self.address = address;
        }
        // Until it has held.
        self.has_failed = true;
        let Address { host, port, user, password, database, tls } = self.address.clone();
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(user)
            .pass(password)
            .db_name(Some(database))
            .ssl_opts(tls.map(options_of))
            .prefer_socket(false)
            // What does not fit is an error, not a message cut short.
            .init(vec!["SET SESSION sql_mode = 'STRICT_ALL_TABLES'"]);
        let connection = self.wait(Conn::new(options))?;
        self.connection = Some(connection);
        self.with(async |connection| migrate(connection, now_ms).await)
    }

    /// Waits for an answer, but not for ever.
    fn wait<T>(&self, answer: impl Future<Output = mysql_async::Result<T>>) -> Result<T, Error> {
        let runtime = self.runtime.as_ref().ok_or_else(not_open)?;
        let answer = runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, answer).await });
        match answer {
            Ok(answer) => answer.map_err(error),
            Err(_) => Err(Error::Away(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }

    /// Asks over the connection, which is given up unless it answers.
    fn with<T>(
        &mut self,
        ask: impl AsyncFnOnce(&mut Conn) -> mysql_async::Result<T>,
    ) -> Result<T, Error> {
        let mut connection = self.connection.take().ok_or_else(not_open)?;
        let answer = self.wait(ask(&mut connection));
        match answer {
            Err(Error::Away(why)) => Err(Error::Away(why)),
            answer @ (Ok(_) | Err(Error::Rejected(_))) => {
                self.connection = Some(connection);
                answer
            }
        }
    }
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mysql").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Store for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn open(&mut self, now_ms: u64) -> Result<Opened, Error> {
        self.migrate(now_ms)?;
        self.with(async |connection| open(connection, now_ms).await)
    }

    fn append(&mut self, records: &[Arc<Publication>]) -> Result<(), Error> {
        let new = self.rooms.new_of(records);
        let created_at = records.first().map_or(0, |it| it.timestamp_ms);
        self.with(async |connection| {
            add_rooms(connection, &new, created_at).await?;
            append(connection, records).await
        })?;
        self.rooms.learn(new);
        Ok(())
    }

    fn read(&mut self, channel: &str, query: Query) -> Result<Page, Error> {
        self.with(async |connection| read(connection, channel, query).await)
    }

    fn tidy(&mut self, now_ms: u64) -> Result<(), Error> {
        let limit = now_ms.saturating_sub(KEY_LIFE_MS);
        self.with(async |connection| connection.exec_drop(schema::KEYS_OLD, (limit,)).await)
    }

    fn forget(&mut self, now_ms: u64, retention: Retention) -> Result<Forgotten, Error> {
        let walked = self.rooms.walked;
        let (forgotten, walked) =
            self.with(async |connection| forget(connection, walked, now_ms, retention).await)?;
        self.rooms.walked = walked;
        Ok(forgotten)
    }
}

async fn migrate(connection: &mut Conn, now_ms: u64) -> mysql_async::Result<()> {
    connection.query_drop(schema::LEDGER).await?;
    let done: Vec<u32> = connection.query(schema::MIGRATED).await?;
    for it in schema::MIGRATIONS.iter().filter(|it| !done.contains(&it.number)) {
        connection.query_drop(it.statement(Dialect::Mysql)).await?;
        // Another task may have been as quick.
        let noted = connection.exec_drop(schema::MIGRATE, (it.number, now_ms)).await;
        match noted {
            Err(mysql_async::Error::Server(error)) if error.code == DUPLICATE => {}
            noted => noted?,
        }
    }
    Ok(())
}

async fn open(connection: &mut Conn, now_ms: u64) -> mysql_async::Result<Opened> {
    let epoch = loop {
        let last: Option<u64> = connection.query_first(schema::EPOCH).await?;
        let epoch = now_ms.max(last.map_or(0, |it| it + 1));
        let taken = match last {
            None => connection.exec_drop(schema::EPOCH_FIRST, (epoch,)).await,
            Some(last) => connection.exec_drop(schema::EPOCH_NEXT, (epoch, last)).await,
        };
        match taken {
            // Another task was quicker: its epoch is not ours.
            Err(mysql_async::Error::Server(error)) if error.code == DUPLICATE => continue,
            taken => taken?,
        }
        if connection.affected_rows() == 1 {
            break epoch;
        }
    };
    let since = now_ms.saturating_sub(KEY_LIFE_MS);
    let rows: Vec<KeyColumns> = connection.exec(schema::KEYS, (since, KEYS_MAX)).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    let kept = rows.into_iter().rev().map(|(channel, key, epoch, seq, timestamp_ms)| {
        let place = Place { epoch, seq };
        Kept { channel: text(&channel), key: text(&key), place, timestamp_ms }
    });
    Ok(Opened { epoch, kept: kept.collect() })
}

/// Each by itself, so that none of them is locked while another is waited for.
async fn add_rooms(
    connection: &mut Conn,
    rooms: &BTreeSet<&str>,
    created_at: u64,
) -> mysql_async::Result<()> {
    for room in rooms {
        let insert = schema::insert_room(Dialect::Mysql);
        connection.exec_drop(insert, (room.as_bytes(), created_at)).await?;
    }
    Ok(())
}

/// One step behind the room `walked`: what it came to, and how far the walk is.
async fn forget(
    connection: &mut Conn,
    mut walked: u64,
    now_ms: u64,
    retention: Retention,
) -> mysql_async::Result<(Forgotten, u64)> {
    let rooms: Vec<(u64, Vec<u8>)> = connection.exec(schema::ROOMS, (walked, STEP_ROOMS)).await?;
    let mut count = 0;
    for (id, destination) in &rooms {
        let removed = forget_room(connection, destination, now_ms, retention).await?;
        count += removed;
        if STEP_MESSAGES as u64 <= removed {
            // There may be more of it.
            return Ok((Forgotten { count, is_done: false }, walked));
        }
        walked = *id;
    }
    let is_done = rooms.len() < STEP_ROOMS;
    Ok((Forgotten { count, is_done }, if is_done { 0 } else { walked }))
}

async fn forget_room(
    connection: &mut Conn,
    destination: &[u8],
    now_ms: u64,
    retention: Retention,
) -> mysql_async::Result<u64> {
    let surplus = match retention.count {
        None => None,
        Some(count) => {
            let found: Option<(u64, u64)> =
                connection.exec_first(schema::BEFORE_LAST, (destination, count)).await?;
            found.map(|(epoch, seq)| Place { epoch, seq })
        }
    };
    let mut end = None;
    // As a rule nothing is to be removed, and one row says so.
    for count in [1, STEP_MESSAGES] {
        let rows: Vec<(u64, u64, u64)> =
            connection.exec(schema::OLDEST, (destination, count)).await?;
        let rows = rows.into_iter().map(|(epoch, seq, at)| (Place { epoch, seq }, at));
        end = end_of(&rows.collect::<Vec<_>>(), surplus, now_ms, retention);
        if end.is_none() {
            break;
        }
    }
    let Some(end) = end else { return Ok(0) };
    let upto = (destination, end.epoch, end.epoch, end.seq);
    connection.exec_drop(schema::REMOVE, upto).await?;
    Ok(connection.affected_rows())
}

async fn append(connection: &mut Conn, records: &[Arc<Publication>]) -> mysql_async::Result<()> {
    let mut transaction = connection.start_transaction(TxOpts::default()).await?;
    let mut rest = records;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rows_of(rest));
        let values = now.iter().flat_map(|it| row_of(it)).collect::<Vec<Value>>();
        let many = transaction.exec_drop(schema::insert(Dialect::Mysql, now.len()), values).await;
        match many {
            // Another task has stored some of them, or we have before the connection was lost.
            Err(mysql_async::Error::Server(error)) if error.code == DUPLICATE => {
                for record in now {
                    let values = row_of(record).to_vec();
                    transaction.exec_drop(schema::insert(Dialect::Mysql, 1), values).await?;
                }
            }
            many => many?,
        }
        rest = later;
    }
    let keys: Vec<_> = records.iter().filter_map(|it| key_of(it)).collect();
    for some in keys.chunks(ROWS_MAX) {
        let statement = schema::insert_keys(Dialect::Mysql, some.len());
        transaction.exec_drop(statement, some.concat()).await?;
    }
    transaction.commit().await
}

async fn read(connection: &mut Conn, channel: &str, query: Query) -> mysql_async::Result<Page> {
    let destination = || Value::Bytes(channel.as_bytes().to_vec());
    let (behind, is_known) = match query {
        Query::Last(0) => return Ok(Page { is_end: true, ..Page::default() }),
        Query::Last(count) => {
            let found: Option<(u64, u64)> =
                connection.exec_first(schema::BEFORE_LAST, (destination(), count)).await?;
            let (epoch, seq) = found.unwrap_or_default();
            (Place { epoch, seq }, false)
        }
        Query::After(place) => (place, false),
        Query::Since(place) => {
            let key = (destination(), place.epoch, place.seq);
            let found: Option<u64> = connection.exec_first(schema::HAS, key).await?;
            (place, found.is_some())
        }
    };
    let wanted = (destination(), behind.epoch, behind.epoch, behind.seq, PAGE_COUNT + 1);
    let rows: Vec<Columns> = connection.exec(schema::PAGE, wanted).await?;
    let records = rows.into_iter().map(|columns| {
        let (epoch, seq, message_id, sender_id, content_type, headers, payload, created_at) =
            columns;
        let row =
            Row { epoch, seq, message_id, sender_id, content_type, headers, payload, created_at };
        Arc::new(row.publication(channel))
    });
    Ok(Page::of(records.collect(), is_known))
}

/// A row of [`schema::KEYS`].
type KeyColumns = (Vec<u8>, Vec<u8>, u64, u64, u64);
/// A row of [`schema::PAGE`].
type Columns = (u64, u64, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>, u64);

/// The server's number for a row that is there already.
const DUPLICATE: u16 = 1062;
/// The server's numbers for a value that does not fit, and for a packet that is too large.
const OF_DATA: [u16; 4] = [1153, 1264, 1366, 1406];

fn options_of(tls: Tls) -> SslOpts {
    match tls.ca {
        Some(path) => {
            SslOpts::default().with_disable_built_in_roots(true).with_root_certs(vec![path.into()])
        }
        None => SslOpts::default(),
    }
}

fn not_open() -> Error {
    Error::Away("not connected".to_owned())
}

fn error(error: mysql_async::Error) -> Error {
    let is_of_data = matches!(&error, mysql_async::Error::Server(it) if OF_DATA.contains(&it.code));
    if is_of_data { Error::Rejected(error.to_string()) } else { Error::Away(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_not_there_is_away() {
        let (host, database) = ("127.0.0.1".to_owned(), "a".to_owned());
        let address = Address { host, port: 1, user: None, password: None, database, tls: None };
        let mut store = Mysql::new(address);
        assert!(matches!(store.append(&[]), Err(Error::Away(_))));
        assert!(matches!(store.open(1), Err(Error::Away(_))));
    }
}
