//! What is reported.

use turnpike_turn::{Client, Event, Link, Reason, Transport};
use turnpike_wire::Method;

use crate::harness::{Caller, PEER, SECOND, Setup, World};

const CALLER: &str = "203.0.113.1:4000";

#[test]
fn a_session_is_reported_from_beginning_to_end() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let address = caller.allocate(&mut world);
    caller.refresh(&mut world, 0).expect_success();
    let [
        Event::Allocated { session, user, tuple, relayed, lifetime, .. },
        Event::Ended { session: ended, .. },
    ] = world.events.as_slice()
    else {
        panic!("{:?}", world.events)
    };
    assert_eq!((user.name(), user.realm()), ("alice", "example.org"));
    assert_eq!((*tuple, *relayed, lifetime.as_secs()), (caller.client.tuple, address, 600));
    assert_eq!(session, ended);
    assert_eq!(session.to_string().len(), 18);
}

#[test]
fn sessions_are_named_by_their_worker_and_never_twice() {
    let mut first = Setup::new().build();
    let mut second = Setup::new().sharing_with(&first).build();
    let mut names = std::collections::HashSet::new();
    for world in [&mut first, &mut second] {
        for _ in 0..10 {
            let mut caller = Caller::new(CALLER);
            caller.allocate(world);
            caller.refresh(world, 0).expect_success();
        }
        for event in &world.events {
            if let Event::Allocated { session, .. } = event {
                assert!(names.insert(*session));
            }
        }
    }
    assert_eq!(names.len(), 20);
}

#[test]
fn a_quiet_server_reports_no_single_requests_and_a_verbose_one_does() {
    for verbose in [false, true] {
        let mut world = Setup::new().config(|config| config.verbose = verbose).build();
        let mut caller = Caller::new(CALLER);
        caller.allocate(&mut world);
        caller.permit(&mut world, &[PEER]).expect_success();
        caller.bind(&mut world, 0x4000, PEER).expect_success();
        caller.refresh(&mut world, 600).expect_success();
        caller.refresh(&mut world, 0).expect_success();
        let processed = |event: &Event| match event {
            Event::Processed { method, refusal, .. } => Some((*method, refusal.map(|it| it.0.number()))),
            _ => None,
        };
        let reported: Vec<_> = world.events.iter().filter_map(processed).collect();
        let expected = [
            (Method::ALLOCATE, Some(401)),
            (Method::ALLOCATE, None),
            (Method::CREATE_PERMISSION, None),
            (Method::CHANNEL_BIND, None),
            (Method::REFRESH, None),
            (Method::REFRESH, None),
        ];
        assert_eq!(reported, if verbose { &expected[..] } else { &[] });
    }
}

#[test]
fn a_refused_peer_is_reported_with_the_rule_that_refused_it() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.allocate(&mut world);
    caller.permit(&mut world, &["10.1.2.3:80"]).expect_error(403);
    let refused = world.events.iter().find_map(|event| match event {
        Event::PeerRefused { peer, rule, tuple, .. } => Some((peer.to_string(), *rule, *tuple)),
        _ => None,
    });
    assert_eq!(refused, Some(("10.1.2.3".into(), "private", caller.client.tuple)));
}

#[test]
fn failed_authentication_is_reported_with_the_client_and_the_reason() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER).named("mallory", "guess");
    caller.allocate_with(&mut world, |_| {}).expect_error(401);
    let failed = world.events.iter().find_map(|event| match event {
        Event::AuthenticationFailed { tuple, username, reason, .. } => Some((*tuple, &**username, *reason)),
        _ => None,
    });
    assert_eq!(failed, Some((caller.client.tuple, "mallory", Reason::UnknownUser)));
}

#[test]
fn a_long_name_is_cut_in_reports() {
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER).named(&"x".repeat(500), "guess");
    caller.allocate_with(&mut world, |_| {}).expect_error(401);
    let length = world.events.iter().find_map(|event| match event {
        Event::AuthenticationFailed { username, .. } => Some(username.len()),
        _ => None,
    });
    assert_eq!(length, Some(128));
}

#[test]
fn nothing_is_reported_for_strangers_and_relayed_packets() {
    // No event a packet: a flood does not fill the log.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    let relayed = caller.allocate(&mut world);
    caller.bind(&mut world, 0x4000, PEER).expect_success();
    world.events.clear();
    for _ in 0..100 {
        caller.send_on(&mut world, 0x4000, b"x").expect_to_peer(PEER, b"x");
        world.receive_from_peer(relayed, PEER, b"x").expect_channel_data(0x4000, b"x");
        world.receive_from_peer(relayed, "1.1.1.1:1", b"x").expect_silence();
        world.receive(Caller::new("203.0.113.9:9").client, b"garbage").expect_silence();
    }
    assert!(world.events.is_empty());
}

#[test]
fn the_end_of_an_earlier_connection_with_the_same_5_tuple_ends_nothing() {
    // A proxy may name the same client for a new connection before the old one is seen to have ended.
    let mut world = Setup::new().build();
    let mut caller = Caller::new(CALLER);
    caller.client.tuple.transport = Transport::Tcp;
    let earlier = Client { link: Link(99), ..caller.client };
    caller.allocate(&mut world);
    world.server.handle_link_closed(world.now, earlier);
    world.drain();
    caller.refresh(&mut world, 600).expect_success();
    world.server.handle_link_closed(world.now, caller.client);
    world.drain();
    caller.refresh(&mut world, 600).expect_error(437);
}

#[test]
fn refusals_of_what_proxies_pass_on_are_counted_each_and_told_once_a_second() {
    let mut world = Setup::new().build();
    let source = "10.0.0.2:5000".parse().expect("an address");
    let refuse = |world: &mut World| {
        let (now, reason) = (world.now.monotonic, Reason::NoProxyHeader);
        world.server.handle_proxy_refused(now, source, Transport::Udp, reason);
        world.drain();
    };
    (0..10).for_each(|_| refuse(&mut world));
    world.advance(SECOND);
    (0..10).for_each(|_| refuse(&mut world));
    assert_eq!(world.server.stats().refused(Reason::NoProxyHeader), 20);
    let told = world.events.iter().filter(|event| matches!(event, Event::ProxyRefused { .. })).count();
    assert_eq!(told, 2);
}
