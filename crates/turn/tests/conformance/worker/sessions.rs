//! How those see and end sessions who look after a server.

use std::collections::HashSet;

use turnpike_turn::{EndCause, Event, PeerTransport, Session, SessionFilter, Transport, Usage};
use turnpike_wire::Family;
use turnpike_wire::attributes::AdditionalAddressFamily;

use crate::harness::{Caller, PEER, PEER_V6, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

/// All pages, and how many there were.
fn all(world: &World, filter: &SessionFilter) -> (Vec<Session>, usize) {
    let (mut sessions, mut pages, mut next) = (Vec::new(), 0, Some(0));
    while let Some(from) = next {
        let page = world.server.sessions(world.now, filter, from);
        assert!(page.sessions.len() <= 256, "a page is bounded");
        assert!(page.next.is_none_or(|next| next > from && next - from <= 4096), "and so is the work for it");
        sessions.extend(page.sessions);
        pages += 1;
        next = page.next;
    }
    (sessions, pages)
}

fn ids(sessions: &[Session]) -> HashSet<u64> {
    sessions.iter().map(|session| session.id.number()).collect()
}

#[test]
fn a_session_is_listed_with_all_that_is_known_of_it() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER).with_fingerprint();
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    caller.permit(&mut world, &["9.9.9.9:7"]).expect_success();
    caller.send_on(&mut world, 0x4000, &[0; 100]).expect_to_peer(PEER, &[0; 100]);
    world.receive_from_peer(relayed, PEER, &[0; 70]).expect_channel_data(0x4000, &[0; 70]);
    world.advance(42 * SECOND);
    let (found, pages) = all(&world, &SessionFilter { with_peers: true, ..SessionFilter::default() });
    let [session] = &found[..] else { panic!("{found:?}") };
    assert_eq!(pages, 1);
    assert_eq!((session.user.name(), session.user.realm()), ("alice", "example.org"));
    assert_eq!((session.tuple, session.relayed, session.additional), (caller.client.tuple, relayed, None));
    assert_eq!((session.age, session.left), (42 * SECOND, 558 * SECOND));
    assert_eq!(session.transport, PeerTransport::Udp);
    assert_eq!((session.permissions, session.channels, session.flows), (2, 1, 0));
    assert_eq!(session.peers, [PEER.parse().unwrap(), "9.9.9.9:0".parse().unwrap()]);
    assert!(session.fingerprint && !session.away && !session.mobile && session.rate.is_none());
    let usage =
        Usage { client_packets: 1, client_bytes: 100, peer_packets: 1, peer_bytes: 70, ..Usage::default() };
    assert_eq!(session.usage, usage, "live, not at the end");
    let (found, _) = all(&world, &SessionFilter::default());
    assert!(found[0].peers.is_empty(), "peers are for those who ask");
}

#[test]
fn a_session_with_two_relayed_addresses_is_one() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let outcome = caller.allocate_with(&mut world, |writer| {
        writer.add(&AdditionalAddressFamily(Family::Ipv6));
    });
    outcome.expect_success();
    caller.permit(&mut world, &[PEER]).expect_success();
    caller.permit(&mut world, &[PEER_V6]).expect_success();
    caller.send(&mut world, PEER, &[0; 10]).expect_to_peer(PEER, &[0; 10]);
    caller.send(&mut world, PEER_V6, &[0; 5]).expect_to_peer(PEER_V6, &[0; 5]);
    let (found, _) = all(&world, &SessionFilter::default());
    let [session] = &found[..] else { panic!("{found:?}") };
    assert!(session.relayed.is_ipv4() && session.additional.is_some_and(|second| second.is_ipv6()));
    assert_eq!((session.permissions, session.usage.client_bytes), (2, 15), "both counted");
    assert!(world.server.end_session(world.now, session.relay, session.id), "and ended as one");
    world.drain();
    world.server.check_invariants();
    assert_eq!((world.ports.taken(), world.open.len(), world.server.stats().allocations()), (0, 0, 0));
}

#[test]
fn many_sessions_come_in_bounded_pages_each_exactly_once() {
    let mut world = Setup::new().range(20_000..=65_535).build();
    let mut callers = Vec::new();
    for number in 0..1000_u16 {
        let mut caller = Caller::new(&format!("203.0.113.{}:{}", number % 200, 4000 + number));
        caller.allocate(&mut world);
        callers.push(caller);
    }
    let (found, pages) = all(&world, &SessionFilter::default());
    assert_eq!((found.len(), ids(&found).len(), pages), (1000, 1000, 4));
    // Between two pages some end and others begin: whoever is there all the time is seen once.
    let first = world.server.sessions(world.now, &SessionFilter::default(), 0);
    for caller in callers.iter_mut().take(600).step_by(2) {
        caller.refresh(&mut world, 0).expect_success();
    }
    for number in 0..100_u16 {
        Caller::new(&format!("198.51.100.1:{}", 4000 + number)).allocate(&mut world);
    }
    let mut seen = first.sessions;
    let mut next = first.next;
    while let Some(from) = next {
        let page = world.server.sessions(world.now, &SessionFilter::default(), from);
        seen.extend(page.sessions);
        next = page.next;
    }
    assert_eq!(ids(&seen).len(), seen.len(), "none twice");
    let lasting = found.iter().filter(|session| {
        callers.iter().enumerate().any(|(number, caller)| {
            caller.client.tuple == session.tuple && (number % 2 == 1 || number >= 600)
        })
    });
    assert!(lasting.map(|session| session.id.number()).all(|id| ids(&seen).contains(&id)), "none left out");
}

#[test]
fn sessions_are_found_by_user_realm_address_transport_and_name() {
    let mut world = Setup::new().build();
    let mut alice = Caller::new(CALLER);
    let relayed = alice.allocate(&mut world);
    alice.permit(&mut world, &[PEER]).expect_success();
    let mut bob = Caller::by_tcp("203.0.113.2:4000").named("bob", "builder");
    bob.allocate(&mut world);
    let names = |filter: SessionFilter| -> Vec<String> {
        let (found, _) = all(&world, &filter);
        found.iter().map(|session| session.user.name().to_owned()).collect()
    };
    let address = |text: &str| SessionFilter { address: text.parse().ok(), ..SessionFilter::default() };
    let none = SessionFilter::default;
    assert_eq!(names(none()).len(), 2);
    assert_eq!(names(SessionFilter { user: Some("bob".into()), ..none() }), ["bob"]);
    assert_eq!(names(SessionFilter { user: Some("bo".into()), ..none() }), [""; 0]);
    assert_eq!(names(SessionFilter { user_prefix: Some("bo".into()), ..none() }), ["bob"]);
    assert_eq!(names(SessionFilter { realm: Some("example.org".into()), ..none() }).len(), 2);
    assert_eq!(names(SessionFilter { realm: Some("example.com".into()), ..none() }), [""; 0]);
    assert_eq!(names(SessionFilter { client_transport: Some(Transport::Tcp), ..none() }), ["bob"]);
    assert_eq!(names(address("203.0.113.1")), ["alice"], "the client's");
    assert_eq!(names(address("8.8.8.8")), ["alice"], "a peer's");
    assert_eq!(names(address(&relayed.ip().to_string())).len(), 2, "the relayed one");
    assert_eq!(names(address("8.8.4.4")), [""; 0]);
    let id = all(&world, &none()).0[0].id;
    assert_eq!(names(SessionFilter { id: Some(id), ..none() }), ["alice"]);
    let both = SessionFilter { id: Some(id), user: Some("bob".into()), ..none() };
    assert_eq!(names(both), [""; 0], "everything that is set must fit");
}

#[test]
fn an_ended_session_gives_everything_back_and_the_next_of_its_place_is_not_meant() {
    let mut world = Setup::new().quotas(1, 0).build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    let (found, _) = all(&world, &SessionFilter::default());
    let (relay, id) = (found[0].relay, found[0].id);
    assert!(world.server.end_session(world.now, relay, id));
    world.drain();
    world.server.check_invariants();
    assert!(world.open.iter().all(|(_, address)| *address != relayed), "its socket is closed");
    let ended = world.events.iter().filter_map(|event| match event {
        Event::Ended { session, cause, .. } => Some((*session, *cause)),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [(id, EndCause::Killed)]);
    caller.refresh(&mut world, 600).expect_error(437);
    // The quota of one is free again, and the slot is somebody else's.
    caller.allocate(&mut world);
    let (found, _) = all(&world, &SessionFilter::default());
    assert_eq!(found[0].relay.slot, relay.slot);
    assert!(!world.server.end_session(world.now, relay, id), "a name that is gone");
    assert!(!world.server.end_session(world.now, found[0].relay, id), "a name that is another's");
    assert_eq!(world.server.stats().allocations(), 1);
}
