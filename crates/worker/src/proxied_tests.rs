use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(port: u16) -> Arrival {
    Arrival { from: SocketAddr::from(([10, 0, 0, 1], port)), listener: 0, local: None }
}

/// A header that names a client by number.
fn header(client: u32) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c".to_vec();
    bytes.extend(client.to_be_bytes());
    bytes.extend([192, 0, 2, 1]);
    bytes.extend([0x10, 0, 0x0d, 0x96]);
    bytes
}

#[track_caller]
fn client_of(origin: Result<Origin, Reason>) -> Client {
    match origin {
        Ok(Origin::Client { client, .. }) => client,
        other => panic!("a client was expected, not {other:?}"),
    }
}

fn nobody_allocates(_: &FiveTuple) -> bool {
    false
}

#[test]
fn a_client_is_whom_the_header_names_and_its_answers_go_to_the_proxy() {
    let mut proxied = Proxied::default();
    let now = Timestamp(0);
    let bytes = [header(0xCB00_7109), b"payload".to_vec()].concat();
    let origin = proxied.receive(at(5000), &bytes, now, nobody_allocates);
    let client = client_of(origin);
    assert_eq!(origin, Ok(Origin::Client { client, start: 28 }));
    assert_eq!(client.tuple.client, address("203.0.113.9:4096"));
    assert_eq!(client.tuple.server, address("192.0.2.1:3478"));
    assert_eq!(proxied.way_to(client.link), Some(at(5000)));
    // Later datagrams of the flow need none, and may have one.
    let origin = proxied.receive(at(5000), b"payload", now, nobody_allocates);
    assert_eq!(origin, Ok(Origin::Client { client, start: 0 }));
    assert_eq!(proxied.receive(at(5000), &bytes, now, nobody_allocates).map(|_| ()), Ok(()));
    assert_eq!(proxied.slots.len(), 1);
}

#[test]
fn without_a_header_nobody_is_known_and_a_broken_one_is_refused() {
    let mut proxied = Proxied::default();
    let refused = proxied.receive(at(5000), b"payload", Timestamp(0), nobody_allocates);
    assert_eq!(refused, Err(Reason::NoProxyHeader));
    let mut broken = header(1);
    broken[13] = 0x11;
    let refused = proxied.receive(at(5000), &broken, Timestamp(0), nobody_allocates);
    assert_eq!(refused, Err(Reason::BadProxyHeader));
    assert!(proxied.slots.is_empty());
}

#[test]
fn a_proxy_that_asks_for_itself_is_no_client() {
    let mut proxied = Proxied::default();
    let bytes = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0payload";
    let origin = proxied.receive(at(5000), bytes, Timestamp(0), nobody_allocates);
    assert_eq!(origin, Ok(Origin::Proxy { start: 16 }));
}

#[test]
fn a_client_keeps_its_link_when_its_proxy_takes_another_port() {
    let mut proxied = Proxied::default();
    let now = Timestamp(0);
    let client = client_of(proxied.receive(at(5000), &header(1), now, nobody_allocates));
    let again = client_of(proxied.receive(at(5001), &header(1), now, nobody_allocates));
    assert_eq!(again, client);
    assert_eq!(proxied.way_to(client.link), Some(at(5001)));
    let stale = proxied.receive(at(5000), b"payload", now, nobody_allocates);
    assert_eq!(stale, Err(Reason::NoProxyHeader), "the flow it had is over");
}

#[test]
fn nothing_of_an_earlier_client_is_sent_to_a_port_that_is_anothers_now() {
    let mut proxied = Proxied::default();
    let now = Timestamp(0);
    let first = client_of(proxied.receive(at(5000), &header(1), now, nobody_allocates));
    let second = client_of(proxied.receive(at(5000), &header(2), now, nobody_allocates));
    assert_ne!(first.link, second.link);
    assert_eq!((proxied.way_to(first.link), proxied.way_to(second.link)), (None, Some(at(5000))));
    assert_eq!(client_of(proxied.receive(at(5000), b"x", now, nobody_allocates)), second);
    // It comes back by another port, as the same client.
    assert_eq!(client_of(proxied.receive(at(5002), &header(1), now, nobody_allocates)), first);
    assert_eq!(proxied.way_to(first.link), Some(at(5002)));
}

#[test]
fn a_flow_that_was_silent_for_long_needs_a_header_again() {
    let mut proxied = Proxied::default();
    let client = client_of(proxied.receive(at(5000), &header(1), Timestamp(0), nobody_allocates));
    let in_time = Timestamp(0) + REMEMBERED;
    assert_eq!(client_of(proxied.receive(at(5000), b"x", in_time, nobody_allocates)), client);
    let late = in_time + REMEMBERED + SECOND;
    assert_eq!(proxied.receive(at(5000), b"x", late, nobody_allocates), Err(Reason::NoProxyHeader));
    assert_eq!(client_of(proxied.receive(at(5000), &header(1), late, nobody_allocates)), client);
}

#[test]
fn clients_are_bounded_and_those_with_an_allocation_stay() {
    let mut proxied = Proxied::default();
    let start = Timestamp(3_600_000_000_000);
    // One port of the proxy for each, as far as there are ports: then of another address.
    let arrival = |number: u32| Arrival {
        from: SocketAddr::from(([10, 0, 0, (number >> 15) as u8], 1024 + (number & 0x7FFF) as u16)),
        listener: 0,
        local: None,
    };
    for number in 0..MOST_PATHS as u32 {
        client_of(proxied.receive(arrival(number), &header(number), start, nobody_allocates));
    }
    let new = MOST_PATHS as u32;
    let refused = proxied.receive(arrival(new), &header(new), start + SECOND, nobody_allocates);
    assert_eq!(refused, Err(Reason::TooManyProxied), "none has been silent for long");
    let later = start + IDLE + SECOND * 2;
    let used = |tuple: &FiveTuple| tuple.client.ip().to_string() == "0.0.0.7";
    let seventh = client_of(proxied.receive(arrival(7), b"x", start, used));
    assert!(proxied.receive(arrival(new), &header(new), later, used).is_ok());
    assert_eq!(proxied.by_ends.len(), 2, "the one that is used, and the new one");
    assert_eq!(proxied.way_to(seventh.link), Some(arrival(7)));
    assert_eq!(proxied.by_proxy.len(), 2);
    // A slot that is used again has another link.
    let links: Vec<Link> = proxied.slots.iter().filter_map(|slot| Some(slot.path?.client.link)).collect();
    assert!(links.iter().all(|link| proxied.way_to(*link).is_some()));
    assert_eq!(proxied.way_to(link_of(9, 0)), None);
}
