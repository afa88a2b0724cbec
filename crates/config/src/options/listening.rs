//! Where clients come in.

use super::Effect::{Later, Settled};
use super::{OptionSpec, Secrecy};
use crate::config::Config;
use crate::values::{host, number};

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
    OptionSpec::with(
        &["no-tcp"],
        Settled("there are no TCP listeners in this version"),
        "Do not serve TCP clients.",
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
    OptionSpec::with(
        &["tcp-proxy-port"],
        Later("TCP listeners"),
        "Port for TCP clients behind a PROXY-protocol balancer.",
    )
    .value("PORT"),
    OptionSpec::with(
        &["aux-server"],
        Later("auxiliary listeners"),
        "Further address to listen on, IP:PORT; may be repeated.",
    )
    .value("IP:PORT")
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
    OptionSpec::with(
        &["drop-invalid-packets-log"],
        Later("logging of dropped packets"),
        "Log each datagram so dropped.",
    ),
    OptionSpec::with(
        &["respond-http-unsupported"],
        Later("TCP listeners"),
        "Answer HTTP requests on the TURN port with a 400 page.",
    ),
    OptionSpec::with(&["acme-redirect"], Later("TCP listeners"), "Where to redirect ACME challenges to.")
        .value("URL"),
];

pub(super) const TLS: &[OptionSpec] = &[
    OptionSpec::with(
        &["no-tls"],
        Settled("there are no TLS listeners in this version"),
        "Do not serve TLS clients.",
    ),
    OptionSpec::with(&["dtls"], Later("DTLS listeners"), "Serve DTLS clients."),
    OptionSpec::with(
        &["no-dtls"],
        Settled("there are no DTLS listeners in this version"),
        "Do not serve DTLS clients.",
    ),
    OptionSpec::with(
        &["tls-listening-port"],
        Later("TLS listeners"),
        "Port for TLS and DTLS; 5349 by custom.",
    )
    .value("PORT"),
    OptionSpec::with(&["alt-tls-listening-port"], Later("TLS listeners"), "Second TLS port, for RFC 5780.")
        .value("PORT"),
    OptionSpec::with(&["cert"], Later("TLS listeners"), "Certificate chain, PEM.").value("FILE"),
    OptionSpec::with(&["pkey"], Later("TLS listeners"), "Private key, PEM.").value("FILE"),
    OptionSpec::with(&["pkey-pwd"], Later("TLS listeners"), "Passphrase of the private key.")
        .value("TEXT")
        .secrecy(Secrecy::Secret),
    OptionSpec::with(
        &["CA-file"],
        Later("TLS listeners"),
        "Certificates that client certificates are checked against.",
    )
    .value("FILE"),
    OptionSpec::with(&["cipher-list"], Later("TLS listeners"), "TLS ciphers.").value("LIST"),
    OptionSpec::with(&["ec-curve-name"], Later("TLS listeners"), "TLS curve.").value("NAME"),
    OptionSpec::with(&["dh-file"], Later("TLS listeners"), "Diffie-Hellman parameters, PEM.").value("FILE"),
    OptionSpec::with(&["dh566"], Later("TLS listeners"), "566-bit Diffie-Hellman parameters."),
    OptionSpec::with(&["dh1066"], Later("TLS listeners"), "1066-bit Diffie-Hellman parameters."),
    OptionSpec::with(&["tlsv1"], Later("TLS listeners"), "Allow TLS 1.0, which is broken."),
    OptionSpec::with(&["tlsv1_1"], Later("TLS listeners"), "Allow TLS 1.1, which is broken."),
    OptionSpec::with(&["no-tlsv1_2"], Later("TLS listeners"), "Do not allow TLS 1.2."),
    OptionSpec::with(&["raw-public-keys"], Later("TLS listeners"), "Allow raw public keys (RFC 7250)."),
];
