//! From a name to a connected socket.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::io::dial::dial;
use crate::io::socket::Socket;
use crate::shard::link::Links;
use crate::shard::link::Options;
use crate::shard::link::Owner;

/// Resolves `host` anew and tries its addresses in order, `beside` first when it is among them,
/// each with its share of the time that is left. Gives the socket and which address it is; an
/// error says what the last of them answered.
pub(super) async fn connect(
    options: &Options,
    host: &str,
    port: u16,
    beside: Option<SocketAddr>,
) -> Result<(Socket, SocketAddr), String> {
    let mut addresses = resolve(options, host, port).await?;
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

async fn resolve(options: &Options, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let question = options.resolver.resolve(host, port);
    match monoio::time::timeout(options.connect_timeout, question).await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("cannot resolve {host}: {error}")),
        Err(_) => Err(format!("cannot resolve {host}: no answer in time")),
    }
}

impl Links {
    /// Asks where a name leads now, for a link that is connected; answered with
    /// [`Owner::handle_looked`], where somebody knows.
    pub(in crate::shard) fn look<O: Owner>(
        self: &Rc<Self>,
        owner: &Rc<O>,
        link: u64,
        host: &str,
        port: u16,
    ) {
        let (links, owner, host) = (Rc::clone(self), Rc::clone(owner), Box::<str>::from(host));
        monoio::spawn(async move {
            match resolve(&links.options, &host, port).await {
                Ok(found) => owner.handle_looked(link, &found),
                // Whoever is connected stays so; it is asked again.
                Err(why) => tracing::debug!("{why}"),
            }
        });
    }
}

fn told(host: &str, address: SocketAddr, error: &std::io::Error) -> String {
    if address.ip().to_string() == host {
        return format!("cannot connect to {address}: {error}");
    }
    format!("cannot connect to {host} at {address}: {error}")
}
