//! How the address that clients are told is found out (`external-ip=auto`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::values::number;

/// Who is asked for this machine's public address, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressDiscovery {
    /// Whether it is to be found out at all.
    pub wanted: bool,
    /// Which clouds' metadata services are asked.
    pub metadata: MetadataChoice,
    /// STUN servers, `HOST` or `HOST:PORT`; none is asked but these.
    pub stun_servers: Vec<String>,
    /// How long until it is looked at again; zero for never.
    pub period: Duration,
}

/// Which metadata services are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataChoice {
    /// Every one this machine may have.
    Usual,
    /// None.
    Off,
    /// Those of these clouds.
    Of(Vec<Cloud>),
    /// Every one, at this address instead of its own.
    At(SocketAddr),
}

/// A cloud whose metadata service can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cloud {
    /// Amazon EC2, and what speaks like it: OpenStack, Exoscale, CloudStack.
    Aws,
    /// Google Compute Engine.
    Google,
    /// Microsoft Azure.
    Azure,
    /// DigitalOcean.
    DigitalOcean,
    /// Hetzner Cloud.
    Hetzner,
    /// Oracle Cloud.
    Oracle,
    /// Alibaba Cloud.
    Alibaba,
}

impl Default for AddressDiscovery {
    fn default() -> Self {
        AddressDiscovery {
            wanted: false,
            metadata: MetadataChoice::Usual,
            stun_servers: Vec::new(),
            period: Duration::from_secs(300),
        }
    }
}

impl Cloud {
    /// All of them.
    pub const ALL: [Cloud; 7] = [
        Cloud::Aws,
        Cloud::Google,
        Cloud::Azure,
        Cloud::DigitalOcean,
        Cloud::Hetzner,
        Cloud::Oracle,
        Cloud::Alibaba,
    ];

    /// As the option names it.
    pub fn word(self) -> &'static str {
        match self {
            Cloud::Aws => "aws",
            Cloud::Google => "gcp",
            Cloud::Azure => "azure",
            Cloud::DigitalOcean => "digitalocean",
            Cloud::Hetzner => "hetzner",
            Cloud::Oracle => "oracle",
            Cloud::Alibaba => "alibaba",
        }
    }
}

impl std::str::FromStr for MetadataChoice {
    type Err = String;

    /// Reads `auto`, `off`, clouds with commas between them, or `http://ADDRESS[:PORT]`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(MetadataChoice::Usual),
            "off" | "none" | "no" => return Ok(MetadataChoice::Off),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("http://") {
            return service_address(rest.trim_end_matches('/')).map(MetadataChoice::At);
        }
        let cloud = |word: &str| {
            Cloud::ALL.into_iter().find(|cloud| cloud.word() == word).ok_or_else(|| {
                let all: Vec<&str> = Cloud::ALL.iter().map(|cloud| cloud.word()).collect();
                format!(
                    "{word:?} is no cloud; there are {}, and auto, off, http://ADDRESS:PORT",
                    all.join(", ")
                )
            })
        };
        text.split(',').map(|word| cloud(word.trim())).collect::<Result<_, _>>().map(MetadataChoice::Of)
    }
}

/// An address, never a name: whoever answers for a name could tell clients to go anywhere.
fn service_address(text: &str) -> Result<SocketAddr, String> {
    let wrong =
        || format!("{text:?} is no address: write http://ADDRESS or http://ADDRESS:PORT, IPv6 in brackets");
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let ip = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    ip.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 80)).map_err(|_| wrong())
}

/// Reads the name of a STUN server, with a port or without one; returns it with one.
///
/// # Errors
/// It is none.
pub fn stun_server(text: &str) -> Result<String, String> {
    let text = text.trim().trim_start_matches("stun:");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| format!("{text:?} has a [ without a ]"))?;
            (host, rest.strip_prefix(':'))
        }
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port: u16 = port.map_or(Ok(3478), |port| number(port, 1, u16::MAX, "a port"))?;
    let plausible = host.parse::<IpAddr>().is_ok()
        || !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !plausible {
        return Err(format!("{text:?} is no server: write HOST or HOST:PORT"));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_all_none_some_or_one_elsewhere() {
        let read = |text: &str| text.parse::<MetadataChoice>();
        assert_eq!(read("auto"), Ok(MetadataChoice::Usual));
        assert_eq!(read("off"), Ok(MetadataChoice::Off));
        assert_eq!(read("aws, gcp"), Ok(MetadataChoice::Of(vec![Cloud::Aws, Cloud::Google])));
        let at = |address: &str| Ok(MetadataChoice::At(address.parse().unwrap()));
        assert_eq!(read("http://127.0.0.1:8080"), at("127.0.0.1:8080"));
        assert_eq!(read("http://127.0.0.1/"), at("127.0.0.1:80"));
        assert_eq!(read("http://[fd00:ec2::254]"), at("[fd00:ec2::254]:80"));
        for wrong in
            ["", "amazon", "http://metadata.google.internal", "https://127.0.0.1", "http://127.0.0.1/x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stun_server_is_a_host_with_or_without_a_port() {
        for (text, expected) in [
            ("stun.example.org", "stun.example.org:3478"),
            ("stun:stun.example.org:19302", "stun.example.org:19302"),
            ("192.0.2.1", "192.0.2.1:3478"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(stun_server(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", ":3478", "host:0", "host:99999", "a b", "http://host", "[::1"] {
            assert!(stun_server(wrong).is_err(), "{wrong}");
        }
    }
}
