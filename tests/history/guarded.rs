//! A database that asks for a password and speaks TLS, whose password changes, and that is
//! read-only for a while.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::relay::Certificates;
use crate::relay::certificates::Files;
use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::await_homes;
use crate::world::await_true;
use crate::world::bodies;
use crate::world::subscribe;

struct World {
    mariadb: MariaDb,
    files: Files,
    folder: TempDir,
}

/// The user of the server, who is let in through TLS only.
fn user(password: &str) -> String {
    format!(
        "CREATE USER IF NOT EXISTS ringway@'%';\n\
         ALTER USER ringway@'%' IDENTIFIED BY '{password}' REQUIRE SSL;\n\
         GRANT ALL ON ringway.* TO ringway@'%';\n"
    )
}

fn world() -> World {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let files = Certificates::of(&["127.0.0.1"]).write(folder.path());
    let mariadb = MariaDb::start_guarded(&user("first"), &files.certificate, &files.key);
    World { mariadb, files, folder }
}

impl World {
    /// A server that reads its password from a file, as an orchestrator mounts one.
    fn program(&self, password: &str) -> Command {
        let path = self.password();
        fs::write(&path, format!("{password}\n")).expect("the folder takes files");
        let mut command = program();
        command.env("DB_HOST", self.mariadb.address()).env("DB_USERNAME", "ringway");
        command.env("DB_PASSWORD_FILE", path);
        command
    }

    fn password(&self) -> std::path::PathBuf {
        self.folder.path().join("password")
    }

    fn serve(&self, password: &str, ca: &Path) -> Server {
        let ca = format!("history.tls_ca={}", ca.display());
        Server::start_as(self.program(password), Driver::Epoll, &["history.tls=on", &ca])
    }
}

/// Has the server read: that its database has gone is seen when it is asked for something.
fn notice(server: &Server) {
    let mut reader = Client::session(server, "reader");
    assert_eq!(subscribe(&mut reader, "history:1").header("recovered"), "false");
}

#[test]
fn a_password_that_changes_is_read_again() {
    let mut world = world();
    let mut server = world.serve("first", &world.files.ca);
    server.await_line("the store of the history is there");
    await_homes(&server);
    let mut writer = Client::session(&server, "writer");
    let receipt = writer.granted("SEND|destination:/app/room.1", "one");
    assert_eq!(receipt.header("stored"), "mysql");

    world.mariadb.set_init(&user("second"));
    world.mariadb.kill();
    world.mariadb.restart();
    notice(&server);
    server.await_line("Access denied");
    let refused = writer.refused("SEND|destination:/app/room.1", "not sent");
    assert_eq!(refused.header("message"), "store-unavailable");
    fs::write(world.password(), "second").expect("the folder takes files");
    await_true("a SEND that is taken", || {
        writer.ask("SEND|destination:/app/room.1", "two").command == "RECEIPT"
    });
    let mut reader = Client::session(&server, "reader");
    assert_eq!(subscribe(&mut reader, "history:9").header("recovered"), "true");
    assert_eq!(bodies(&mut reader, 2), ["one", "two"]);
    assert!(server.end().iter().all(|it| !it.contains("second") && !it.contains("first\"")));
}

#[test]
fn nothing_is_said_to_a_server_that_is_not_believed_or_without_tls() {
    let world = world();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let stranger = Certificates::of(&["127.0.0.1"]).write(folder.path()).ca;
    let mut server = world.serve("first", &stranger);
    let line = server.await_line("the store of the history is away");
    assert!(line.contains("certificate"), "{line}");
    let mut server = Server::start_as(world.program("first"), Driver::Epoll, &[]);
    let line = server.await_line("the store of the history is away");
    assert!(line.contains("Access denied"), "{line}");
}

#[test]
fn a_database_that_may_only_be_read_refuses_and_is_taken_when_it_may_be_written() {
    let mut world = world();
    let mut server = world.serve("first", &world.files.ca);
    server.await_line("the store of the history is there");
    await_homes(&server);
    let mut writer = Client::session(&server, "writer");
    let mut reader = Client::session(&server, "reader");
    reader.subscribe("other", "/topic/other");
    writer.granted("SEND|destination:/app/room.1", "one");

    // As a replica that was promoted by nobody yet.
    world.mariadb.set_argument("--read-only", true);
    world.mariadb.kill();
    world.mariadb.restart();
    notice(&server);
    server.await_line("read-only");
    let refused = writer.refused("SEND|destination:/app/room.1", "not sent");
    assert_eq!(refused.header("message"), "store-unavailable");
    writer.publish("/topic/other", "live");
    reader.expect("other", "live");
    let health = ask(server.admin, "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(health.status, 200);
    assert!(health.body.contains("DEGRADED"), "{}", health.body);

    world.mariadb.set_argument("--read-only", false);
    world.mariadb.kill();
    world.mariadb.restart();
    await_true("a SEND that is taken", || {
        writer.ask("SEND|destination:/app/room.1", "two").command == "RECEIPT"
    });
    let mut late = Client::session(&server, "late");
    assert_eq!(subscribe(&mut late, "history:9").header("recovered"), "true");
    assert_eq!(bodies(&mut late, 2), ["one", "two"]);
}
