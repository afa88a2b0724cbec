//! Asking STUN servers (RFC 8489) how they see this machine: from each address that is in question, each server that the
//! operator named, all at once.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use turnpike_client::{BindingOptions, Client, ClientConfig, Event, Retransmission};

use super::{Answer, Sighting, Source, Trouble};
use crate::randomness;

/// Asks every server from every address of its family.
pub(super) fn ask_all(servers: &[String], subjects: &[IpAddr], asked: &mut JoinSet<Answer>) {
    for server in servers {
        for subject in subjects {
            let (server, subject) = (server.clone(), *subject);
            asked.spawn(async move {
                let answer = tokio::time::timeout(PATIENCE, ask(&server, subject)).await;
                let seen = answer.unwrap_or(Err(Trouble::Silent));
                let source = Source::Stun(server);
                let sighting = seen.map(|(public, keeps_ports)| Sighting {
                    source: source.clone(),
                    public,
                    private: Some(subject),
                    keeps_ports: Some(keeps_ports),
                });
                (source, sighting.map(|sighting| vec![sighting]))
            });
        }
    }
}

/// How one server sees one address, and whether the port too is seen as it is.
async fn ask(server: &str, from: IpAddr) -> Result<(IpAddr, bool), Trouble> {
    let unusable = |error: std::io::Error| Trouble::Denied(error.to_string());
    let mut found = tokio::net::lookup_host(server).await.map_err(unusable)?;
    let of_family = found.find(|address| address.is_ipv4() == from.is_ipv4());
    let Some(address) = of_family else {
        return Err(Trouble::Denied(format!("{server} has no address of this family")));
    };
    let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await.map_err(unusable)?;
    socket.connect(address).await.map_err(unusable)?;
    let own = socket.local_addr().map_err(unusable)?;
    let seen = exchange(&socket).await?;
    Ok((seen.ip(), seen.port() == own.port()))
}

async fn exchange(socket: &UdpSocket) -> Result<SocketAddr, Trouble> {
    let retransmission =
        Retransmission { initial_timeout: Duration::from_millis(200), transmissions: 4, last_wait: 2 };
    let config = ClientConfig { retransmission, ..ClientConfig::default() };
    let seed = randomness::random().map_err(|error| Trouble::Denied(error.to_string()))?;
    let mut client = Client::new(Arc::new(config), seed);
    let began = Instant::now();
    client
        .binding(Duration::ZERO, BindingOptions::default())
        .map_err(|error| Trouble::Denied(error.to_string()))?;
    let (mut output, mut input) = ([0; 1500], [0; 1500]);
    loop {
        while let Some(length) = client.poll_transmit(&mut output) {
            // What cannot be sent now is sent again in time.
            let _ = socket.send(&output[..length]).await;
        }
        let Some(due) = client.poll_timeout() else { return Err(Trouble::Silent) };
        let wait = due.saturating_sub(began.elapsed());
        let event = match tokio::time::timeout(wait, socket.recv(&mut input)).await {
            Ok(Ok(length)) => client.handle_input(began.elapsed(), &input[..length]),
            // Nobody listens there, says the server's host.
            Ok(Err(error)) => return Err(Trouble::Denied(error.to_string())),
            Err(_) => {
                client.handle_timeout(began.elapsed());
                client.poll_event()
            }
        };
        match event {
            Some(Event::Binding(answer)) => return Ok(answer.mapped),
            Some(Event::Failed { failure: turnpike_client::Failure::TimedOut, .. }) => {
                return Err(Trouble::Silent);
            }
            Some(Event::Failed { failure, .. }) => return Err(Trouble::Denied(failure.to_string())),
            _ => {}
        }
    }
}

/// For a look-up of the name and an answer.
const PATIENCE: Duration = Duration::from_millis(1800);
