//! What a store holds, read past the server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use mysql_async::Conn;
use mysql_async::Opts;
use mysql_async::prelude::Queryable;
use rusqlite::Connection;
use rusqlite::OpenFlags;

use super::record::Id;
use super::record::Place;
use super::record::Row;
use crate::databases::MariaDb;

const ROWS: &str = "SELECT destination, epoch, seq, payload FROM messages ORDER BY epoch, seq";

/// The database of one run.
pub(crate) enum Base {
    Sqlite(PathBuf),
    MariaDb {
        /// Of the server as a whole.
        server: String,
        name: String,
    },
}

/// A row as it is read: destination, epoch, number, body.
type Raw = (Vec<u8>, i64, i64, Vec<u8>);

impl Base {
    /// A fresh database in a MariaDB.
    pub(crate) fn create(mariadb: &MariaDb, name: &str) -> Self {
        let url = mariadb.url();
        let server = url.strip_suffix("ringway").expect("its database is called so").to_owned();
        let base = Self::MariaDb { server, name: name.to_owned() };
        let drop = format!("DROP DATABASE IF EXISTS {name}");
        base.query("ringway", &[&drop, &format!("CREATE DATABASE {name}")]);
        base
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::MariaDb { server, name } => format!("{server}{name}"),
        }
    }

    /// Frees what it takes in its server.
    pub(crate) fn drop_it(&self) {
        if let Self::MariaDb { name, .. } = self {
            self.query("ringway", &[&format!("DROP DATABASE {name}")]);
        }
    }

    /// All rows; an error tells of one that cannot be one of ours.
    pub(crate) fn rows(&self) -> Result<Vec<Row>, String> {
        let raw = match self {
            Self::Sqlite(path) => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
                let base = Connection::open_with_flags(path, flags).expect("the file is there");
                let mut rows = base.prepare(ROWS).expect("the table is there");
                let row = |row: &rusqlite::Row<'_>| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                };
                let rows = rows.query_map([], row).expect("the file can be read");
                rows.collect::<Result<Vec<Raw>, _>>().expect("the file can be read")
            }
            Self::MariaDb { name, .. } => self.query(name, &[ROWS]),
        };
        let row = |(destination, epoch, seq, body): Raw| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let number = |it: i64| u64::try_from(it).ok();
            let told = || {
                let (destination, body) = (text(&destination), text(&body));
                format!("the store holds {body:?} at {epoch}:{seq} of {destination}")
            };
            let room = text(&destination);
            let room = room.rsplit('.').next().and_then(|it| it.parse().ok());
            let id = Id::parse(&text(&body));
            let place = number(epoch).zip(number(seq)).map(|(epoch, seq)| Place { epoch, seq });
            match (room, place, id) {
                (Some(room), Some(place), Some(id)) => Ok(Row { room, place, id }),
                (..) => Err(told()),
            }
        };
        raw.into_iter().map(row).collect()
    }

    /// Which messages are there.
    pub(crate) fn ids(&self) -> BTreeSet<Id> {
        self.rows().unwrap_or_default().iter().map(|it| it.id).collect()
    }

    /// Runs statements in the database `name`, and returns the rows of the last.
    fn query(&self, name: &str, statements: &[&str]) -> Vec<Raw> {
        let Self::MariaDb { server, .. } = self else { return Vec::new() };
        let url = format!("{server}{name}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let work = async {
            let opts = Opts::from_url(&url).expect("it is a URL");
            let mut conn = Conn::new(opts).await?;
            let mut rows = Vec::new();
            for statement in statements {
                rows = conn.query(*statement).await?;
            }
            conn.disconnect().await?;
            Ok::<_, mysql_async::Error>(rows)
        };
        runtime.expect("a runtime starts").block_on(work).expect("the database answers")
    }
}
