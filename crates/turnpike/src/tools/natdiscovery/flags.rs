//! The command line.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::tools::arguments::{Shape, split};

/// What is to be found out, from where, with whom.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) server: SocketAddr,
    pub(super) mapping: bool,
    pub(super) filtering: bool,
    pub(super) hairpinning: bool,
    /// How long to leave a mapping alone.
    pub(super) lifetime: Option<Duration>,
    /// The other local address that wants the same port.
    pub(super) collision: Option<IpAddr>,
    /// Whether requests are large enough to be fragmented.
    pub(super) padding: bool,
    pub(super) local: Option<IpAddr>,
    /// 0 for any.
    pub(super) local_port: u16,
}

pub(super) enum Parsed {
    Run(Settings),
    Help,
}

pub(super) fn parse(arguments: Vec<String>) -> Result<Parsed> {
    let (flags, words) = split(&SHAPE, arguments).map_err(|problem| anyhow!(problem))?;
    let has = |name: &str| flags.iter().any(|flag| flag.name == name);
    if has("h") || has("help") {
        return Ok(Parsed::Help);
    }
    // The last of several counts.
    let value =
        |name: &str| flags.iter().rfind(|flag| flag.name == name).and_then(|flag| flag.value.as_deref());
    let port = value("p").map_or(Ok(3478), |text| text.parse().with_context(|| wrong("p", text)))?;
    let address = |name| value(name).map(|text| text.parse().with_context(|| wrong(name, text))).transpose();
    let (local, other): (Option<IpAddr>, Option<IpAddr>) = (address("L")?, address("A")?);
    let local_port = value("l").map_or(Ok(0), |text| text.parse().with_context(|| wrong("l", text)))?;
    let seconds = value("T").map(|text| text.parse().with_context(|| wrong("T", text))).transpose()?;
    if value("l").is_some() && local.is_none() {
        bail!("-l needs a local address beside it: -L ADDRESS");
    }
    let collision =
        has("c").then(|| other.context("-c needs another local address: -A ADDRESS")).transpose()?;
    let lifetime = has("t").then(|| seconds.context("-t needs a time to wait: -T SECONDS")).transpose()?;
    if let (Some(one), Some(other)) = (local, collision)
        && one.is_ipv4() != other.is_ipv4()
    {
        bail!("{one} and {other} must be of one family");
    }
    let Some(host) = words.first() else { bail!("the server's address is missing") };
    Ok(Parsed::Run(Settings {
        server: find(host, port, local.or(collision))?,
        mapping: has("m"),
        filtering: has("f"),
        hairpinning: has("H"),
        lifetime: lifetime.map(|seconds: u32| Duration::from_secs(seconds.into())),
        collision,
        padding: has("P"),
        local,
        local_port,
    }))
}

/// The server's first address of the family that is asked from.
fn find(host: &str, port: u16, local: Option<IpAddr>) -> Result<SocketAddr> {
    let addresses = (host, port).to_socket_addrs().with_context(|| format!("cannot look up {host}"))?;
    let mut fitting = addresses.filter(|found| local.is_none_or(|local| local.is_ipv4() == found.is_ipv4()));
    fitting.next().with_context(|| format!("{host} has no address that can be asked from here"))
}

fn wrong(name: &str, value: &str) -> String {
    format!("-{name} cannot be {value}")
}

const SHAPE: Shape = Shape { switches: "mftcHPh", values: "pLlAT", long: &[("help", false)] };
pub(crate) const USAGE: &str = "\
turnutils_natdiscovery - find out how the NATs on the way to a STUN server behave

USAGE
    turnutils_natdiscovery [flags] SERVER

WHAT TO FIND OUT
    -m          whether a mapping depends on whom one sends to
    -f          whether what comes in is filtered by whom it comes from
    -t          whether a mapping lasts -T seconds without traffic
    -H          whether one reaches oneself by one's mapped address
    -c          whether two local addresses (-L and -A) with one port get one mapping
    -P          ask with 1500 bytes of padding, so that fragments travel; not with -t

FLAGS
    -p PORT     the server's port (3478)
    -L ADDRESS  local address
    -l PORT     local port, with -L; -m opens what -f tests, so give them one at a time with it
    -A ADDRESS  the other local address of -c
    -T SECONDS  the time of -t
    -h          this text

The server must offer RFC 5780 on two addresses (coturn and Turnpike: rfc5780). Each question waits 3 seconds at most.

EXIT STATUS
    0 when asked, whatever came of it; 255 when it could not be asked.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &str) -> Result<Settings> {
        match parse(words.split_whitespace().map(String::from).collect())? {
            Parsed::Run(settings) => Ok(settings),
            Parsed::Help => bail!("help"),
        }
    }

    #[test]
    fn flags_are_coturns() {
        let all = "-mfP -H -c -A 127.0.0.2 -t -T 7 -p 3500 -L 127.0.0.1 -l 5000 127.0.0.9";
        let settings = settings(all).unwrap();
        assert_eq!(settings.server, "127.0.0.9:3500".parse().unwrap());
        assert!(settings.mapping && settings.filtering && settings.padding && settings.hairpinning);
        assert_eq!(settings.collision, Some("127.0.0.2".parse().unwrap()));
        assert_eq!(settings.lifetime, Some(Duration::from_secs(7)));
        assert_eq!((settings.local, settings.local_port), (Some("127.0.0.1".parse().unwrap()), 5000));
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        for (words, missing) in [
            ("-c 127.0.0.1", "-A"),
            ("-t 127.0.0.1", "-T"),
            ("-m -l 5000 127.0.0.1", "-L"),
            ("-m", "address"),
            ("-c -L 127.0.0.1 -A ::1 127.0.0.1", "family"),
            ("-m -L ::1 127.0.0.1", "from here"),
            ("-p 70000 127.0.0.1", "-p"),
            ("-q 127.0.0.1", "-q"),
        ] {
            let problem = format!("{:#}", settings(words).unwrap_err());
            assert!(problem.contains(missing), "{words}: {problem}");
        }
    }
}
