//! How much a server has to do: what its `/capacity` says, over HTTP.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use turnpike_config::CapacityUrl;

/// How much a server has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// How much of what it can do, from 0 to 1, by whichever of its means is the scarcest.
    pub(crate) load: f64,
    /// Allocations it has.
    pub(crate) allocations: u64,
    /// How many it could have.
    pub(crate) most: u64,
    /// Whether it takes no new ones.
    pub(crate) draining: bool,
}

impl Load {
    /// How full it is: by what it says itself, or finer by its allocations.
    pub(super) fn fullness(&self) -> f64 {
        self.load.max(self.allocations as f64 * self.step())
    }

    /// How much fuller it is with one client more.
    pub(super) fn step(&self) -> f64 {
        1.0 / self.most.max(1) as f64
    }

    /// Reads the answer.
    fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).filter(|number| *number > 0);
        let allocations = answer.get("allocations")?.as_u64()?;
        let most = number("ports").into_iter().chain(number("allocationQuota")).min()?;
        let draining = answer.get("draining").and_then(Value::as_bool).unwrap_or_default();
        let load = answer.get("load").and_then(Value::as_f64).unwrap_or_default().clamp(0.0, 1.0);
        Some(Load { load, allocations, most, draining })
    }
}

/// Asks all of them at once. Who gives no answer that makes sense is left out.
pub(super) fn ask_all(servers: &[SocketAddr], url: &CapacityUrl) -> HashMap<SocketAddr, Load> {
    let mut loads = HashMap::new();
    for some in servers.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> =
                some.iter().map(|server| (*server, scope.spawn(|| ask(server.ip(), url)))).collect();
            for (server, asked) in asked {
                let answer = asked.join().ok().and_then(Result::ok);
                loads.extend(answer.as_deref().and_then(Load::read).map(|load| (server, load)));
            }
        });
    }
    loads
}

/// The body of the answer to a GET request.
fn ask(ip: IpAddr, url: &CapacityUrl) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + PATIENCE;
    let host = SocketAddr::new(ip, url.port);
    let mut connection = TcpStream::connect_timeout(&host, PATIENCE)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        url.path
    );
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        connection.set_read_timeout(Some(left))?;
        let length = connection.read(&mut room)?;
        answer.extend_from_slice(&room[..length]);
        if length == 0 || is_complete(&answer) {
            break;
        }
        if answer.len() > LONGEST || left.as_millis() <= 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    body(&answer).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether as much has come as the header announced.
fn is_complete(answer: &[u8]) -> bool {
    let Some((head, body)) = split(answer) else { return false };
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    announced.is_some_and(|length| body.len() >= length)
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let (head, body) = split(answer)?;
    let status = head.split_ascii_whitespace().nth(1)?;
    (head.starts_with("HTTP/1.") && status == "200").then_some(body)
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]))
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Bytes of an answer.
const LONGEST: usize = 64 * 1024;
/// Servers that are asked at once.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_others_are_none() {
        let text = r#"{"state":"ready","draining":false,"load":0.25,"allocations":7,"allocationQuota":null,"ports":100,"portsFree":93}"#;
        let load = Load::read(text.as_bytes()).unwrap();
        assert_eq!(load, Load { load: 0.25, allocations: 7, most: 100, draining: false });
        let quota = text.replace("null", "20");
        assert_eq!(Load::read(quota.as_bytes()).map(|load| load.most), Some(20));
        for wrong in ["", "{}", "[1]", r#"{"allocations":1}"#, r#"{"allocations":-1,"ports":5}"#] {
            assert_eq!(Load::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn only_an_answer_of_200_has_a_body_that_counts() {
        assert_eq!(body(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), Some(&b"{}"[..]));
        assert_eq!(body(b"HTTP/1.1 401 Unauthorized\r\n\r\n{}"), None);
        assert_eq!(body(b"SSH-2.0 200 x\r\n\r\n{}"), None);
        assert!(is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"));
    }
}
