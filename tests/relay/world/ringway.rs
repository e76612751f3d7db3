//! The server with a relay: what it is told besides its driver, and what it says about Redis.

use std::ops::Deref;
use std::ops::DerefMut;
use std::process::Command;

use serde_json::Value;

use super::await_true;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;

/// A server that shares its rooms through a Redis.
pub(crate) struct Ringway {
    server: Server,
}

impl Ringway {
    /// Starts a server with these settings and waits until its relay is up.
    #[track_caller]
    pub(crate) fn start(driver: Driver, settings: &[&str]) -> Self {
        let server = Self::start_early(driver, settings);
        server.await_up();
        server
    }

    /// Starts a server with these settings, whatever its relay does.
    pub(crate) fn start_early(driver: Driver, settings: &[&str]) -> Self {
        Self::start_with_environment(driver, settings, &[])
    }

    /// As [`Ringway::start_early`], with variables of the environment, too.
    pub(crate) fn start_with_environment(
        driver: Driver,
        settings: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut command = program();
        command.envs(environment.iter().copied());
        Self::start_as(command, driver, settings)
    }

    /// Starts a server by `command`, whatever its relay does.
    pub(crate) fn start_as(command: Command, driver: Driver, settings: &[&str]) -> Self {
        Self { server: Server::start_as(command, driver, settings) }
    }

    /// Health as the admin listener shows it, which is never an error for want of Redis.
    #[track_caller]
    pub(crate) fn health(&self) -> Value {
        let request = "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let page = ask(self.server.admin, request);
        assert_eq!(page.status, 200, "{page:?}");
        serde_json::from_str(&page.body).expect("health is JSON")
    }

    /// Waits until health says that Redis and all else is well.
    #[track_caller]
    pub(crate) fn await_up(&self) {
        await_true("the relay to be up", || {
            let health = self.health();
            health["components"]["redis"]["status"] == "UP" && health["status"] == "UP"
        });
    }

    /// Waits until health says that the server has no Redis.
    #[track_caller]
    pub(crate) fn await_degraded(&self) {
        await_true("the relay to be down", || {
            let health = self.health();
            health["components"]["redis"]["status"] != "UP" && health["status"] == "DEGRADED"
        });
    }
}

impl Deref for Ringway {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Ringway {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
