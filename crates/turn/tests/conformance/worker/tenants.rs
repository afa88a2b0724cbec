//! Several realms on one server, told apart by name, address and ORIGIN, each with its own users, limits and peers.

use std::sync::Arc;
use std::time::Duration;

use turnpike_turn::{Config, Credentials, Limits, Link, Reason, Tenant, Tenants, Transport, rest_password};
use turnpike_wire::Method;
use turnpike_wire::attributes::{Origin, Realm, RequestedTransport};

use crate::harness::{Caller, Setup, World, range, request};

const CALLER: &str = "203.0.113.1:4000";

fn south() -> Tenant {
    let mut credentials = Credentials::new("south");
    credentials.add_user("carol", "penguin");
    credentials.add_user("dave@south", "penguin");
    credentials.add_secret(b"antarctica");
    Tenant {
        credentials: Some(Arc::new(credentials)),
        limits: Limits { user_quota: Some(1), ..Limits::default() },
        allowed: vec![range("10.1.0.0", "10.1.255.255")],
        denied: vec![range("192.0.9.0", "192.0.9.255")],
    }
}

fn world(change: impl FnOnce(&mut Tenants)) -> World {
    let mut tenants = Tenants::default();
    tenants.realms.insert("south".into(), south());
    change(&mut tenants);
    Setup::new().config(|config: &mut Config| config.tenants = tenants).build()
}

fn carol() -> Caller {
    let mut carol = Caller::new(CALLER).named("carol", "penguin");
    carol.realm = "south".into();
    carol
}

#[test]
fn an_origin_leads_to_its_realm() {
    let mut world = world(|tenants| {
        tenants.origins.insert("https://south.example".into(), "south".into());
    });
    let mut carol = carol();
    let origin = Origin(b"https://South.example");
    let bare = request(Method::ALLOCATE, |writer| {
        writer.add(&RequestedTransport::UDP).add(&origin);
    });
    let challenge = world.receive(carol.client, &bare).expect_error(401);
    assert_eq!(challenge.expect::<Realm<'_>>(), Realm(b"south"));
    carol.take_nonce(&challenge);
    carol
        .allocate_with(&mut world, |writer| {
            writer.add(&origin);
        })
        .expect_success();
    // It comes with the first request alone.
    carol.permit(&mut world, &["10.1.2.3:5000"]).expect_success();
    carol.refresh(&mut world, 600).expect_success();
    let mut stranger = Caller::new("203.0.113.2:4000").named("carol", "penguin");
    // She is nobody in the server's own realm.
    stranger.allocate_with(&mut world, |_| {}).expect_error(401);
}

#[test]
fn an_address_leads_to_its_realm_whose_limits_and_peers_hold() {
    let mut world = world(|tenants| {
        let listener = crate::harness::LISTENER.parse::<std::net::SocketAddr>().expect("an address").ip();
        tenants.addresses.insert(listener, "south".into());
    });
    let mut carol = carol();
    carol.allocate(&mut world);
    carol.permit(&mut world, &["10.1.2.3:5000"]).expect_success();
    for refused in ["10.2.2.3:5000", "192.0.9.7:5000"] {
        carol.permit(&mut world, &[refused]).expect_error(403);
    }
    let mut again = self::carol();
    again.client.tuple.client.set_port(4001);
    again.allocate_with(&mut world, |_| {}).expect_error(486);
    assert_eq!(world.server.stats().refused(Reason::UserQuota), 1);
}

/// RFC 6066 §3: which server a client of TLS or DTLS wants to talk to.
#[test]
fn a_server_name_leads_to_its_realm_before_an_address_and_is_forgotten_with_its_link() {
    let mut world = world(|tenants| {
        tenants.server_names.insert("turn.south.example".into(), "south".into());
    });
    let challenged = |world: &mut World, caller: &Caller| {
        let bare = request(Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::UDP);
        });
        let challenge = world.receive(caller.client, &bare).expect_error(401);
        String::from_utf8_lossy(challenge.expect::<Realm<'_>>().0).into_owned()
    };
    let mut carol = carol().over(Transport::Tls);
    carol.client.link = Link(77);
    assert_eq!(challenged(&mut world, &carol), "example.org", "she has not said which");
    world.server.handle_server_name(carol.client.link, "Turn.South.Example");
    assert_eq!(challenged(&mut world, &carol), "south");
    carol.allocate(&mut world);
    carol.refresh(&mut world, 600).expect_success();
    let mut other = self::carol().over(Transport::Tls);
    other.client.link = Link(78);
    other.client.tuple.client.set_port(4001);
    world.server.handle_server_name(other.client.link, "turn.nowhere.example");
    assert_eq!(challenged(&mut world, &other), "example.org");
    world.server.handle_link_closed(world.now, carol.client);
    assert_eq!(challenged(&mut world, &carol), "example.org", "the link is somebody else's now");
}

#[test]
fn a_name_leads_to_its_realm_by_a_new_nonce_and_without_a_failure() {
    let mut world = world(|tenants| tenants.suffix = Some('@'));
    for (name, password) in [
        ("dave@south", "penguin".to_owned()),
        ("1900000000:erin@south", rest_password(b"antarctica", "1900000000:erin@south")),
    ] {
        let mut caller = Caller::new(&format!("203.0.113.1:{}", 4000 + name.len())).named(name, &password);
        caller.allocate(&mut world);
        assert_eq!(caller.realm, "south", "told with 438, which is no failure");
    }
    assert_eq!(world.server.stats().refused(Reason::WrongPassword), 0);
    Caller::new("203.0.113.9:4000").named("alice", "wonderland").allocate(&mut world);
    let mut nowhere = Caller::new("203.0.113.8:4000").named("alice@nowhere", "wonderland");
    nowhere.allocate_with(&mut world, |_| {}).expect_error(401);
}

#[test]
fn with_strict_expiry_a_session_ends_with_its_credential() {
    for strict in [true, false] {
        let mut setup = Setup::new();
        let mut credentials = crate::harness::credentials();
        credentials.add_secret(b"north");
        setup.config.credentials = Arc::new(credentials);
        setup.config.strict_expiry = strict;
        let mut world = setup.build();
        let name = format!("{}:frank", world.now.unix.0 + 100);
        let mut frank = Caller::new(CALLER).named(&name, &rest_password(b"north", &name));
        frank.allocate(&mut world);
        world.advance(Duration::from_secs(90));
        frank.refresh(&mut world, 600).expect_success();
        world.advance(Duration::from_secs(20));
        assert_eq!(world.server.stats().allocations(), u64::from(!strict), "strict: {strict}");
        let outcome = frank.refresh(&mut world, 600);
        if strict {
            outcome.expect_error(401)
        } else {
            outcome.expect_success()
        };
    }
}
