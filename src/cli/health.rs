//! `ringway healthcheck`: what a container's engine runs to know whether the server lives.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use crate::cli::EXIT_FAILURE;

/// How long a health check may take as a whole.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const HEALTH_PATH: &str = "/actuator/health/liveness";
/// An answer is far smaller; whatever else listens there must not fill our memory.
const HEALTH_BYTES_MAX: usize = 64 * 1024;

/// The address to connect to for a listener that is bound to `listen`.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Exit code 0 only when `url` answers `UP`, or `DEGRADED`, which no restart would mend; a line on
/// standard error says what it did instead.
pub(super) fn healthcheck(url: &str) -> ExitCode {
    match ask(url, HEALTH_TIMEOUT) {
        Ok(status) if matches!(status.as_str(), "UP" | "DEGRADED") => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("ringway: {url} answers {status}");
            ExitCode::from(EXIT_FAILURE)
        }
        Err(why) => {
            eprintln!("ringway: {url}: {why}");
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// Asks `url` for its health, for at most `timeout`, and returns the `status` of the answer.
#[expect(clippy::disallowed_methods, reason = "a command of its own: there is no shard's clock")]
fn ask(url: &str, timeout: Duration) -> Result<String, String> {
    let (authority, path) = split_url(url)?;
    let deadline = Instant::now() + timeout;
    let left = || deadline.checked_duration_since(Instant::now()).filter(|it| !it.is_zero());
    let addresses = authority.to_socket_addrs().map_err(|it| format!("no such address: {it}"))?;
    let mut connected = Err("no such address".to_owned());
    for address in addresses {
        let Some(left) = left() else { break };
        connected = TcpStream::connect_timeout(&address, left)
            .map_err(|it| format!("cannot connect to {address}: {it}"));
        if connected.is_ok() {
            break;
        }
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let answer = exchange(connected?, request.as_bytes(), left).map_err(|it| {
        // A socket's timeout is the one or the other, depending on the system.
        if matches!(it.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            format!("no answer within {timeout:?}")
        } else {
            format!("no answer: {it}")
        }
    })?;
    status(&answer)
}

/// Sends `request` and reads one answer, for as long as `left` gives time.
fn exchange(
    mut stream: TcpStream,
    request: &[u8],
    left: impl Fn() -> Option<Duration>,
) -> io::Result<Vec<u8>> {
    let left = || left().ok_or(io::Error::from(io::ErrorKind::TimedOut));
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        if count == 0 || HEALTH_BYTES_MAX < answer.len() || is_whole(&answer) {
            return Ok(answer);
        }
    }
}

/// The authority with its port, and the path, of an `http://` URL.
fn split_url(url: &str) -> Result<(String, &str), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("only http:// is asked; name the admin listener, which speaks it")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_plain = |it: &str| it.bytes().all(|it| it.is_ascii_graphic());
    if authority.is_empty() || !is_plain(authority) || !is_plain(path) || authority.contains('@') {
        return Err("not a URL; give one such as http://127.0.0.1:9090".into());
    }
    // The last `:` of an IPv6 address in brackets is within them, unless a port follows.
    let has_port = authority.rsplit(']').next().is_some_and(|it| it.contains(':'));
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok((authority, if path.is_empty() || path == "/" { HEALTH_PATH } else { path }))
}

/// Whether the answer is complete by its `content-length`; without one it ends with the connection.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|it| it <= body.len())
}

/// The health status in an answer, or how the answer is not one of health.
fn status(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let not_health =
        || "the answer is not one of a health endpoint; name the admin listener".to_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(not_health)?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let code = words.nth(1).filter(|_| head.starts_with("HTTP/1.")).ok_or_else(not_health)?;
    let status = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|it| it.get("status")?.as_str().map(str::to_owned));
    match status {
        Some(status) if code == "200" || status != "UP" => Ok(status.escape_debug().to_string()),
        Some(_) | None if code != "200" => Err(format!("HTTP status {}", code.escape_debug())),
        Some(_) | None => Err(not_health()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let check = |listen: &str, expected: &str| {
            let address = reachable(listen.parse().expect("an address"));
            assert_eq!(address.to_string(), expected);
        };
        check("0.0.0.0:9090", "127.0.0.1:9090");
        check("[::]:9090", "[::1]:9090");
        check("10.1.2.3:9090", "10.1.2.3:9090");
    }

    #[test]
    fn urls_have_a_port_and_a_path_in_the_end() {
        let check = |url: &str, expected: Option<(&str, &str)>| {
            let split = split_url(url).ok();
            let split = split.as_ref().map(|(authority, path)| (authority.as_str(), *path));
            assert_eq!(split, expected, "{url}");
        };
        check("http://a:1", Some(("a:1", HEALTH_PATH)));
        check("http://a/", Some(("a:80", HEALTH_PATH)));
        check("http://[::1]", Some(("[::1]:80", HEALTH_PATH)));
        check("http://[::1]:9/x?y", Some(("[::1]:9", "/x?y")));
        for wrong in ["", "a:1", "https://a", "http://", "http:///x", "http://a b", "http://u@a"] {
            check(wrong, None);
        }
    }

    #[test]
    fn only_up_is_healthy() {
        let check = |answer: &str, expected: Result<&str, &()>| {
            let status = status(answer.as_bytes()).map_err(drop);
            assert_eq!(status.as_deref(), expected, "{answer}");
        };
        check("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"UP\"}", Ok("UP"));
        check("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"DOWN\"}", Ok("DOWN"));
        check("HTTP/1.1 503 x\r\n\r\n{\"status\":\"OUT_OF_SERVICE\"}", Ok("OUT_OF_SERVICE"));
        check("HTTP/1.1 503 x\r\n\r\n{\"status\":\"UP\"}", Err(&()));
        check("HTTP/1.1 404 x\r\n\r\nnothing", Err(&()));
        check("HTTP/1.1 200 OK\r\n\r\n{}", Err(&()));
        check("HTTP/1.1 200 OK", Err(&()));
        check("", Err(&()));
        check("SSH-2.0-x\r\n\r\n", Err(&()));
    }

    /// Serves one connection with `answer` and returns what the health check makes of it.
    fn ask_a_server_that_answers(
        answer: &'static str,
        timeout: Duration,
    ) -> Result<String, String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 1024];
                let count = stream.read(&mut request).expect("a request");
                assert!(
                    request[..count].starts_with(b"GET /actuator/health/liveness HTTP/1.1\r\n")
                );
                stream.write_all(answer.as_bytes()).expect("a reader");
                // Held open until the other side has seen enough or given up.
                stream.read(&mut request).map_or(0, |it| it)
            });
            ask(&url, timeout)
        })
    }

    #[test]
    fn an_answer_ends_with_its_length_although_the_connection_stays() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"UP\"}";
        assert_eq!(ask_a_server_that_answers(answer, HEALTH_TIMEOUT), Ok("UP".into()));
    }

    #[test]
    fn a_server_that_hangs_is_not_waited_for() {
        let answer = ask_a_server_that_answers("HTTP/1.1 200 OK\r\n", Duration::from_millis(50));
        assert_eq!(answer, Err("no answer within 50ms".into()));
    }

    #[test]
    fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let error = ask(&format!("http://{address}"), HEALTH_TIMEOUT).expect_err("nobody listens");
        assert!(error.starts_with(&format!("cannot connect to {address}: ")), "{error}");
    }
}
