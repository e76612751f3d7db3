//! What the server says on standard output once it serves: where, how, and what to try.

use std::io;
use std::io::Write;
use std::net::SocketAddr;

use crate::config::Host;
use crate::config::Resolved;
use crate::config::settings::Settings;
use crate::io::probe::Driver;

/// What the banner tells.
pub(super) struct Facts<'a> {
    pub(super) public: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) cores: usize,
    pub(super) driver: &'a Driver,
    pub(super) resolved: &'a Resolved,
    pub(super) settings: &'a Settings,
    pub(super) host: &'a Host,
}

/// Prints the banner; the two `on` lines are what scripts wait for.
pub(super) fn print(facts: &Facts<'_>) {
    // Without standard output there is nobody to greet; the server serves all the same.
    drop(write(&mut io::stdout().lock(), facts));
}

fn write(out: &mut impl Write, facts: &Facts<'_>) -> io::Result<()> {
    let Facts { cores, driver, resolved, host, .. } = facts;
    let scheme = if facts.settings.tls.is_some() { "wss" } else { "ws" };
    let shards = if *cores == 1 { "1 shard".to_owned() } else { format!("{cores} shards") };
    writeln!(out, "ringway {}: {shards} on {driver}", env!("CARGO_PKG_VERSION"))?;
    if let Some(address) = facts.public {
        writeln!(out, "listening on {scheme}://{address}/ws")?;
    }
    if let Some(address) = facts.admin {
        writeln!(out, "admin on http://{address}")?;
    }
    writeln!(
        out,
        "up to {} connections ({} open files allowed)",
        resolved.connections, host.nofile
    )?;
    if facts.settings.auth.is_on() {
        writeln!(out, "authentication is on: every client needs a token")?;
    } else {
        writeln!(out, "authentication is off: every client is who its CONNECT login says")?;
    }
    let (Some(public), Some(admin)) = (facts.public, facts.admin) else {
        return out.flush();
    };
    writeln!(out, "try:")?;
    writeln!(out, "  curl http://{admin}/actuator/health")?;
    writeln!(out, "  curl http://{admin}/metrics")?;
    writeln!(
        out,
        "  a STOMP client on {scheme}://{public}/ws: SUBSCRIBE /topic/room.1, SEND /app/room.1"
    )?;
    if facts.settings.server.echo {
        writeln!(out, "  a WebSocket client on {scheme}://{public}/echo")?;
    }
    out.flush()
}
