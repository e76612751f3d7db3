//! From a name to a connected socket.

use std::net::SocketAddr;

use crate::io::dial::dial;
use crate::io::socket::Socket;
use crate::shard::link::Options;

/// Resolves `host` anew and tries its addresses in order, `beside` first when it is among them,
/// each with its share of the time that is left. Gives the socket and which address it is; an
/// error says what the last of them answered.
pub(super) async fn connect(
    options: &Options,
    host: &str,
    port: u16,
    beside: Option<SocketAddr>,
) -> Result<(Socket, SocketAddr), String> {
    let question = options.resolver.resolve(host, port);
    let mut addresses = match monoio::time::timeout(options.connect_timeout, question).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("cannot resolve {host}: {error}")),
        Err(_) => return Err(format!("cannot resolve {host}: no answer in time")),
    };
    addresses.sort_by_key(|it| Some(*it) != beside);
    let mut why = String::new();
    let share = options.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match dial(address, share, options.user_timeout).await {
            Ok(socket) => return Ok((socket, address)),
            Err(error) => why = told(host, address, &error),
        }
    }
    Err(why)
}

fn told(host: &str, address: SocketAddr, error: &std::io::Error) -> String {
    if address.ip().to_string() == host {
        return format!("cannot connect to {address}: {error}");
    }
    format!("cannot connect to {host} at {address}: {error}")
}
