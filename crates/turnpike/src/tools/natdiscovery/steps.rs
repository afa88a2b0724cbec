//! The tests, each with sockets of its own: what one has opened in the NAT would spoil the next (RFC 5780 §4.1).

use std::net::SocketAddr;
use std::thread;

use anyhow::Result;
use turnpike_client::{BindingAnswer, BindingOptions};
use turnpike_wire::attributes::ChangeRequest;

use super::probe::{Heard, Prober, Question, reaches};
use super::report;

/// RFC 5780 §4.3.
pub(super) fn mapping(prober: &mut Prober<'_>) -> Result<()> {
    report::title("Mapping");
    let socket = prober.open()?;
    let Some((first, other)) = two_addresses(prober, &socket)? else { return Ok(()) };
    if first.mapped == socket.local_addr()? {
        report::verdict("No NAT! (Endpoint Independent Mapping)");
        return Ok(());
    }
    let (options, primary) = (prober.options(), prober.settings.server.port());
    let mut ask = |to| -> Result<Option<SocketAddr>> {
        let heard = prober.ask(Question { socket: &socket, ear: &socket, to, options })?;
        Ok(heard.answer().map(|answer| answer.mapped))
    };
    let Some(second) = ask(SocketAddr::new(other.ip(), primary))? else { return Ok(()) };
    if second == first.mapped {
        report::verdict("NAT with Endpoint Independent Mapping!");
        return Ok(());
    }
    let Some(third) = ask(other)? else { return Ok(()) };
    report::verdict(if third == second {
        "NAT with Address Dependent Mapping!"
    } else {
        "NAT with Address and Port Dependent Mapping!"
    });
    Ok(())
}

/// RFC 5780 §4.4.
pub(super) fn filtering(prober: &mut Prober<'_>) -> Result<()> {
    report::title("Filtering");
    let socket = prober.open()?;
    if two_addresses(prober, &socket)?.is_none() {
        return Ok(());
    }
    let server = prober.settings.server;
    for (ip, verdict) in
        [(true, "NAT with Endpoint Independent Filtering!"), (false, "NAT with Address Dependent Filtering!")]
    {
        let change = Some(ChangeRequest { ip, port: true });
        let options = BindingOptions { change, ..prober.options() };
        let heard = prober.ask(Question { socket: &socket, ear: &socket, to: server, options })?;
        let from = match heard {
            Heard::Answer(_, from) => from,
            Heard::Silence => continue,
            // What the server does not do says nothing of the NAT.
            Heard::Error(_) => return Ok(()),
        };
        // Else it says nothing of what others could send.
        if from.port() == server.port() || (from.ip() != server.ip()) != ip {
            report::remark(&format!("The response came from {from}, which is not where it was asked from."));
            return Ok(());
        }
        report::verdict(verdict);
        return Ok(());
    }
    report::verdict("NAT with Address and Port Dependent Filtering!");
    Ok(())
}

/// RFC 5780 §4.6: a mapping is made, left alone, and then tried from outside.
pub(super) fn lifetime(prober: &mut Prober<'_>) -> Result<()> {
    report::title("Mapping Lifetime");
    let Some(time) = prober.settings.lifetime else { return Ok(()) };
    let (quiet, other) = (prober.open()?, prober.open_another()?);
    // Padding and a response port exclude each other.
    let (to, plain) = (prober.settings.server, BindingOptions::default());
    let heard = prober.ask(Question { socket: &quiet, ear: &quiet, to, options: plain })?;
    let Some(first) = heard.answer() else { return Ok(()) };
    thread::sleep(time);
    let options = BindingOptions { response_port: Some(first.mapped.port()), ..plain };
    let heard = prober.ask(Question { socket: &other, ear: &quiet, to, options })?;
    let seconds = time.as_secs();
    report::verdict(&match heard {
        Heard::Answer(..) => format!("The mapping lasts {seconds} seconds!"),
        Heard::Error(_) => return Ok(()),
        Heard::Silence => format!("Nothing came by a mapping left alone for {seconds} seconds!"),
    });
    Ok(())
}

/// RFC 5780 §3.4.
pub(super) fn hairpinning(prober: &mut Prober<'_>) -> Result<()> {
    report::title("Hairpinning");
    let (socket, other) = (prober.open()?, prober.open_another()?);
    let Some(first) = prober.first(&socket)? else { return Ok(()) };
    if reaches(&other, &socket, first.mapped, prober.options())? {
        report::remark("Received a request (maybe a successful hairpinning)");
    } else {
        report::silence();
    }
    Ok(())
}

/// Two local addresses with one port: RFC 4787 §4.2.1 calls it port overloading if both get one mapping.
pub(super) fn collision(prober: &mut Prober<'_>) -> Result<()> {
    report::title("Collision");
    let Some(other) = prober.settings.collision else { return Ok(()) };
    let socket = prober.open()?;
    let beside = prober.open_at(other, socket.local_addr()?.port())?;
    let Some(first) = prober.first(&socket)? else { return Ok(()) };
    let Some(second) = prober.first(&beside)? else { return Ok(()) };
    report::verdict(if first.mapped == second.mapped {
        "Both local addresses have one mapping: port overloading!"
    } else {
        "Each local address has a mapping of its own!"
    });
    Ok(())
}

/// The server's answer and its other address, which both of the chief tests need.
fn two_addresses(
    prober: &mut Prober<'_>,
    socket: &std::net::UdpSocket,
) -> Result<Option<(BindingAnswer, SocketAddr)>> {
    let Some(first) = prober.first(socket)? else { return Ok(None) };
    let other = first.other_address;
    if other.is_none() {
        report::remark("The server names no other address: it does not offer RFC 5780.");
    }
    Ok(other.map(|other| (first, other)))
}
