//! `ringway migrate`: the tables of the history, brought up to date or printed.

use std::process::ExitCode;

use crate::cli::EXIT_FAILURE;
use crate::cli::EXIT_START;
use crate::cli::say;
use crate::config::HistoryUrl;
use crate::config::settings::HistorySettings;
use crate::config::settings::Secret;
use crate::config::settings::Settings;
use crate::history::Address;
use crate::history::Error;
use crate::history::Mysql;
use crate::history::Sqlite;
use crate::history::Tls;
use crate::history::schema;
use crate::history::schema::Dialect;

/// Runs the migrations of the store that the configuration names, or prints them.
pub(super) fn run(settings: &Settings, is_printed: bool) -> ExitCode {
    let url = &settings.history.url;
    let dialect = match url {
        HistoryUrl::Memory => {
            eprintln!(
                "ringway: history.url = \"memory\" has no tables; name a database, such as \
                 --history sqlite:///path/to/a/file"
            );
            return ExitCode::from(EXIT_START);
        }
        HistoryUrl::Sqlite(_) => Dialect::Sqlite,
        HistoryUrl::Mysql { .. } => Dialect::Mysql,
    };
    if is_printed {
        return say(&schema::script(dialect));
    }
    match migrate(&settings.history) {
        Ok(()) => say(&format!("{url}: up to date, {} migrations\n", schema::MIGRATIONS.len())),
        Err(error) => {
            eprintln!("ringway: {url}: {error}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

fn migrate(settings: &HistorySettings) -> Result<(), Error> {
    let now_ms = now_ms();
    if let HistoryUrl::Sqlite(path) = &settings.url {
        return Sqlite::new(path.clone()).migrate(now_ms);
    }
    address_of(settings).map_or(Ok(()), |it| Mysql::new(it).migrate(now_ms))
}

/// The database server that the settings name, if they name one.
pub(crate) fn address_of(settings: &HistorySettings) -> Option<Address> {
    let HistoryUrl::Mysql { user, password, host, port, database } = &settings.url else {
        return None;
    };
    Some(Address {
        host: host.clone(),
        port: *port,
        user: user.clone(),
        password: password.as_ref().map(Secret::reveal).map(str::to_owned),
        database: database.clone(),
        tls: settings.tls.then(|| Tls { ca: settings.tls_ca.clone() }),
    })
}

#[expect(clippy::disallowed_methods, reason = "a command of its own: there is no shard's clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
