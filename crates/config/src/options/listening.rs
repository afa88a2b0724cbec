//! Where clients come in.

use super::Effect::{Deprecated, Later, Settled};
use super::{OptionSpec, Secrecy};
use crate::config::Config;
use crate::endpoints::listener;
use crate::values::{Secret, host, number};

pub(super) const OPTIONS: &[OptionSpec] = &[
    OptionSpec::set(
        &["listening-ip"],
        "IP",
        |config, value| {
            let ip = host(value)?;
            if !config.listening_ips.contains(&ip) {
                config.listening_ips.push(ip);
            }
            Ok(())
        },
        "Address to listen on; may be repeated.",
    )
    .reloadable()
    .short('L')
    .repeats()
    .default("every address of this machine that is not link-local"),
    OptionSpec::set(
        &["listening-port"],
        "PORT",
        |config, value| {
            config.listening_port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "Port to listen on.",
    )
    .short('p')
    .default("3478"),
    OptionSpec::set(
        &["listening-device"],
        "NAME",
        |config, value| {
            config.listening_device = Some(value.to_owned()).filter(|name| !name.is_empty());
            Ok(())
        },
        "Network interface to bind listeners to. An address is usually the better choice.",
    )
    .short('d'),
    OptionSpec::set(
        &["sock-buf-size"],
        "BYTES",
        |config, value| {
            let bytes = number(value, 0, 1 << 30, "a number of bytes")?;
            config.socket_buffer = if bytes == 0 { Config::default().socket_buffer } else { bytes };
            Ok(())
        },
        "Socket buffer to ask the system for, each way, 0 for the default; what was granted is logged at start.",
    )
    .default("2097152"),
    OptionSpec::switch(&["no-udp"], |config, on| config.udp = !on, "Do not serve UDP clients."),
    OptionSpec::switch(
        &["no-tcp"],
        |config, on| config.tcp = !on,
        "Do not serve TCP clients, nor TLS on the TCP port.",
    ),
    OptionSpec::set(
        &["alt-listening-port"],
        "PORT",
        |config, value| {
            let port = number(value, 0, u16::MAX, "a port, or 0")?;
            config.alt_listening_port = Some(port).filter(|port| *port > 0);
            Ok(())
        },
        "Second port, for rfc5780; 0 for the listening port plus one.",
    )
    .default("0"),
    OptionSpec::set(
        &["tcp-proxy-port"],
        "PORT",
        |config, value| {
            config.balancing.proxy_port = Some(number(value, 1, u16::MAX, "a port")?);
            Ok(())
        },
        "Further port for TCP and TLS clients that come by a load balancer: each connection begins with a header of the PROXY protocol, 1 or 2. See proxy-from.",
    ),
    OptionSpec::set(
        &["proxy-from"],
        "RANGE",
        |config, value| {
            config.balancing.proxies.push(value.parse()?);
            Ok(())
        },
        "Load balancers (ADDRESS, RANGE or CIDR) that say by the PROXY protocol whose each connection is, on every TCP and TLS port, and each datagram (2); may be repeated.",
    )
    .reloadable()
    .default("none; for tcp-proxy-port loopback and private addresses")
    .repeats()
    .ours(),
    OptionSpec::set(
        &["aux-server"],
        "IP:PORT",
        |config, value| {
            let address = listener(value)?;
            if !config.balancing.auxiliary.contains(&address) {
                config.balancing.auxiliary.push(address);
            }
            Ok(())
        },
        "Further address to listen on, for UDP and TCP, and TLS where it is served; may be repeated.",
    )
    .reloadable()
    .repeats(),
    OptionSpec::with(
        &["udp-recvmmsg"],
        Settled("datagrams are always received in batches"),
        "Receive datagrams in batches.",
    ),
    OptionSpec::with(
        &["udp-gso"],
        Settled("UDP segmentation is used wherever the kernel has it"),
        "Send with UDP segmentation.",
    ),
    OptionSpec::with(
        &["udp-recvmmsg-log"],
        Later("batch statistics in the log"),
        "Log how full received batches are.",
    ),
    OptionSpec::with(
        &["udp-sendmmsg-log"],
        Later("batch statistics in the log"),
        "Log how full sent batches are.",
    ),
    OptionSpec::with(
        &["drop-invalid-packets"],
        Settled("packets that are no STUN are always dropped before any state is made"),
        "Drop datagrams that are neither STUN nor ChannelData.",
    ),
    OptionSpec::switch(
        &["drop-invalid-packets-log"],
        |config, on| config.log.dropped = on,
        "Log each datagram so dropped, at level debug, in text2pcap's form.",
    ),
    OptionSpec::switch(
        &["respond-http-unsupported"],
        |config, on| config.say_http_unsupported = on,
        "Answer HTTP requests on TCP and TLS ports with 400 rather than closing the connection.",
    )
    .reloadable(),
    OptionSpec::set(
        &["acme-redirect"],
        "URL",
        |config, value| {
            config.acme_redirect = Some(redirect(value)?).filter(|url| !url.is_empty());
            Ok(())
        },
        "Redirect ACME HTTP-01 challenges that come by plain TCP to this URL with the token behind it.",
    )
    .reloadable(),
];

pub(super) const TLS: &[OptionSpec] = &[
    OptionSpec::switch(&["no-tls"], |config, on| config.tls = !on, "Do not serve TLS clients."),
    OptionSpec::switch(
        &["dtls"],
        |config, on| config.dtls = on,
        "Serve DTLS 1.2 clients, on the UDP port and on the TLS port's number; needs cert and pkey.",
    ),
    OptionSpec::with(
        &["no-dtls"],
        // Nobody is served unless asked for, so that only its denial means something.
        Deprecated(
            |config, on| config.dtls |= !on,
            "DTLS clients are not served unless dtls is set, and that is the way to say it",
        ),
        "Do not serve DTLS clients, which is so anyway; no-dtls=false stands for dtls.",
    ),
    OptionSpec::set(
        &["tls-listening-port"],
        "PORT",
        |config, value| {
            config.tls_port = number(value, 1, u16::MAX, "a port")?;
            Ok(())
        },
        "TCP port for TLS and UDP port for DTLS. Both are understood on the listening port too.",
    )
    .default("5349"),
    OptionSpec::set(
        &["alt-tls-listening-port"],
        "PORT",
        |config, value| {
            let port = number(value, 0, u16::MAX, "a port, or 0")?;
            config.alt_tls_port = Some(port).filter(|port| *port > 0);
            Ok(())
        },
        "Second port for TLS, with rfc5780; 0 for the TLS port plus one.",
    )
    .default("0"),
    OptionSpec::set(
        &["cert"],
        "FILE",
        |config, value| file(&mut config.certificate, value),
        "Certificate chain, PEM, the server's own first; read again when it changes and on SIGUSR2.",
    )
    .reloadable(),
    OptionSpec::set(
        &["pkey"],
        "FILE",
        |config, value| file(&mut config.private_key, value),
        "Private key of the certificate, PEM.",
    )
    .reloadable(),
    OptionSpec::set(
        &["pkey-pwd"],
        "TEXT",
        |config, value| {
            config.private_key_passphrase = Some(Secret::new(value)).filter(|_| !value.is_empty());
            Ok(())
        },
        "Passphrase of the private key, if it is encrypted (PKCS #8).",
    )
    .reloadable()
    .secrecy(Secrecy::Secret),
    OptionSpec::set(
        &["CA-file"],
        "FILE",
        |config, value| file(&mut config.client_authorities, value),
        "Certificates, PEM, one of which must have signed a client's; without it clients need none.",
    )
    .reloadable(),
    OptionSpec::with(&["cipher-list"], Settled(CIPHERS), "TLS ciphers.").value("LIST"),
    OptionSpec::with(&["ec-curve-name"], Settled(CIPHERS), "TLS curve.").value("NAME"),
    OptionSpec::with(&["dh-file"], Settled(NO_DH), "Diffie-Hellman parameters, PEM.").value("FILE"),
    OptionSpec::with(&["dh566"], Settled(NO_DH), "566-bit Diffie-Hellman parameters."),
    OptionSpec::with(&["dh1066"], Settled(NO_DH), "1066-bit Diffie-Hellman parameters."),
    OptionSpec::with(&["tlsv1"], Settled("TLS 1.0 is never spoken (RFC 8996)"), "Allow TLS 1.0."),
    OptionSpec::with(&["tlsv1_1"], Settled("TLS 1.1 is never spoken (RFC 8996)"), "Allow TLS 1.1."),
    OptionSpec::switch(
        &["no-tlsv1_2"],
        |config, on| config.tls12 = !on,
        "Do not speak TLS 1.2, but 1.3 alone.",
    )
    .reloadable(),
    OptionSpec::with(&["raw-public-keys"], Later("raw public keys"), "Allow raw public keys (RFC 7250)."),
];

/// A URL prefix that can stand in an HTTP header; an empty one for none.
fn redirect(value: &str) -> Result<String, String> {
    let is_url = value.starts_with("http://") || value.starts_with("https://");
    if value.is_empty() || is_url && value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    Err(format!("{value:?} is no URL: write http://HOST/PATH/, which the token is put behind"))
}

/// An empty name stands for none.
fn file(place: &mut Option<String>, value: &str) -> Result<(), String> {
    *place = Some(value.to_owned()).filter(|name| !name.is_empty());
    Ok(())
}

const CIPHERS: &str = "suites with forward secrecy and authenticated encryption are offered, and no others";
const NO_DH: &str = "keys are agreed on over elliptic curves, so no Diffie-Hellman parameters are needed";
