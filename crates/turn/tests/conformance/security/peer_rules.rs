//! Which peers may be reached (conformance 155 to 158): the same rules for CreatePermission, ChannelBind and Send.

use turnpike_turn::{Event, Reason, refused_by_default};

use crate::harness::{Caller, PEER, PEER_V6, Setup, World, range};

/// First and last address of each special range, and their neighbours outside where those are public.
const REFUSED_V4: &[&str] = &[
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.2.255",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.254",
    "255.255.255.255",
];

const REFUSED_V6: &[&str] = &[
    "::",
    "::1",
    "::ff",
    "100::1",
    "64:ff9b:1::1",
    "2001:2::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
];

const PUBLIC: &[&str] = &[
    "1.0.0.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2001:4860:4860::8888",
    "2003::1",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
];

/// IPv4 that must not be reached, in every IPv6 form that leads to it.
fn disguises(octets: [u8; 4]) -> Vec<String> {
    let [a, b, c, d] = octets;
    let inverted = octets.map(|octet| !octet);
    let words = |[a, b, c, d]: [u8; 4]| format!("{a:x}{b:02x}:{c:x}{d:02x}");
    vec![
        format!("::ffff:{a}.{b}.{c}.{d}"),
        format!("64:ff9b::{a}.{b}.{c}.{d}"),
        format!("64:ff9b:1::{a}.{b}.{c}.{d}"),
        format!("2002:{}::1", words(octets)),
        format!("2002:{}:1:2:3:4:5", words(octets)),
        format!("2001:0:808:808:0:0:{}", words(inverted)),
        format!("2606:4700::5efe:{}", words(octets)),
        format!("2606:4700::200:5efe:{}", words(octets)),
    ]
}

/// A world and a client with an allocation of each family.
fn world_with_allocations(setup: Setup) -> (World, Caller, Caller) {
    let mut world = setup.build();
    let mut four = Caller::new("203.0.113.1:4000");
    let mut six = Caller::new("203.0.113.1:6000");
    four.allocate(&mut world);
    six.allocate_v6(&mut world);
    (world, four, six)
}

fn with_port(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Asks for this peer in all three ways; each must be refused, and nothing may be sent or left behind.
#[track_caller]
fn expect_refused(world: &mut World, caller: &mut Caller, ip: &str) {
    let peer = with_port(ip, 80);
    let before = world.server.stats().refused(Reason::PeerRefused);
    caller.permit(world, &[&peer]).expect_error(403);
    caller.bind(world, 0x4123, &peer).expect_error(403);
    assert_eq!(world.server.stats().refused(Reason::PeerRefused), before + 2, "{ip}");
    caller.send(world, &peer, b"x").expect_drop(Reason::NoPermission);
    caller.send_on(world, 0x4123, b"x").expect_drop(Reason::NoChannel);
}

/// Asks for this peer in all three ways; each must be granted.
#[track_caller]
fn expect_granted(world: &mut World, caller: &mut Caller, ip: &str) {
    let peer = with_port(ip, 80);
    caller.permit(world, &[&peer]).expect_success();
    caller.send(world, &peer, b"x").expect_to_peer(&peer, b"x");
}

#[test]
fn no_special_range_is_reached_by_default() {
    // Conformance 155, 157 and 158.
    let (mut world, mut four, mut six) = world_with_allocations(Setup::new());
    for ip in REFUSED_V4 {
        expect_refused(&mut world, &mut four, ip);
    }
    for ip in REFUSED_V6 {
        expect_refused(&mut world, &mut six, ip);
    }
    assert_eq!(world.server.stats().relayed().client_packets, 0);
}

#[test]
fn both_ends_of_every_range_that_is_announced_as_refused_are_refused() {
    let (mut world, mut four, mut six) = world_with_allocations(Setup::new());
    for (range, name) in refused_by_default() {
        for ip in [range.first, range.last] {
            // Mapped IPv4 is judged as what it stands for.
            if !ip.to_string().starts_with("::ffff:") {
                let caller = if ip.is_ipv4() { &mut four } else { &mut six };
                let peer = std::net::SocketAddr::new(ip, 80).to_string();
                // All of ::/96 but its first addresses is IPv4-compatible, of the other family.
                let compatible = ip.to_string() == "::255.255.255.255";
                caller.permit(&mut world, &[&peer]).expect_error(if compatible { 443 } else { 403 });
            }
        }
        assert!(!name.is_empty());
    }
}

#[test]
fn the_neighbours_of_the_special_ranges_are_reached() {
    let (mut world, mut four, mut six) = world_with_allocations(Setup::new());
    for ip in PUBLIC {
        let caller = if ip.contains(':') { &mut six } else { &mut four };
        expect_granted(&mut world, caller, ip);
    }
}

#[test]
fn refused_ipv4_is_refused_in_every_disguise() {
    // Conformance 156: mapped, NAT64, 6to4, Teredo, ISATAP. Mapped and compatible addresses are IPv4 in truth, and
    // asked for on an IPv4 allocation.
    let (mut world, mut four, mut six) = world_with_allocations(Setup::new());
    for refused in REFUSED_V4 {
        let ip: std::net::Ipv4Addr = refused.parse().expect("IPv4");
        for disguise in disguises(ip.octets()) {
            if disguise.starts_with("::ffff") {
                expect_refused(&mut world, &mut four, &disguise);
                six.permit(&mut world, &[&with_port(&disguise, 80)]).expect_error(443);
            } else {
                expect_refused(&mut world, &mut six, &disguise);
            }
        }
        if ip.to_bits() > 0xFF {
            expect_refused(&mut world, &mut four, &format!("::{ip}"));
        }
    }
    assert_eq!(world.server.stats().relayed().client_packets, 0);
}

#[test]
fn a_mapped_peer_is_the_ipv4_peer() {
    // One permission for both forms, and the data comes from the plain one.
    let (mut world, mut four, mut six) = world_with_allocations(Setup::new());
    for form in ["::ffff:8.8.8.8", "::8.8.8.8"] {
        four.permit(&mut world, &[&with_port(form, 1)]).expect_success();
        four.send(&mut world, &with_port(form, 7000), b"x").expect_to_peer(PEER, b"x");
        six.permit(&mut world, &[&with_port(form, 1)]).expect_error(443);
    }
    four.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
    four.bind(&mut world, 0x4000, "[::ffff:8.8.8.8]:7000").expect_success();
    four.bind(&mut world, 0x4000, PEER).expect_success();
    four.bind(&mut world, 0x4001, PEER).expect_error(400);
}

#[test]
fn the_operator_opens_ranges_and_only_those() {
    let setup = Setup::new().config(|config| {
        let fe80 = range("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        config.peers.allowed =
            vec![range("10.1.0.0", "10.1.255.255"), range("192.168.7.7", "192.168.7.7"), fe80];
    });
    let (mut world, mut four, mut six) = world_with_allocations(setup);
    for ip in ["10.1.0.0", "10.1.255.255", "192.168.7.7"] {
        expect_granted(&mut world, &mut four, ip);
    }
    expect_granted(&mut world, &mut six, "fe80::1");
    for ip in ["10.0.255.255", "10.2.0.0", "192.168.7.6", "192.168.7.8", "172.16.0.1"] {
        expect_refused(&mut world, &mut four, ip);
    }
    // What is open as IPv4 is open when translated, too; what is not, is not.
    expect_granted(&mut world, &mut six, "64:ff9b::10.1.2.3");
    expect_refused(&mut world, &mut six, "64:ff9b::10.2.2.3");
}

#[test]
fn opening_a_translators_range_does_not_open_what_lies_behind_it() {
    let setup = Setup::new().config(|config| {
        config.peers.allowed = vec![range("64:ff9b::", "64:ff9b::ffff:ffff"), range("2002::", "2002:ffff::")];
    });
    let (mut world, _, mut six) = world_with_allocations(setup);
    for ip in ["64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "2002:7f00:1::1", "64:ff9b::0.0.0.0"] {
        expect_refused(&mut world, &mut six, ip);
    }
}

#[test]
fn nothing_opens_the_unspecified_and_the_broadcast_address() {
    // Conformance 158: 0.0.0.0 and :: lead to the host's own services.
    let setup = Setup::new().config(|config| {
        let all_v6 = range("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        config.peers.allowed = vec![range("0.0.0.0", "255.255.255.255"), all_v6];
        config.peers.allow_loopback = true;
    });
    let (mut world, mut four, mut six) = world_with_allocations(setup);
    for ip in ["0.0.0.0", "0.1.2.3", "255.255.255.255", "::ffff:0.0.0.0"] {
        expect_refused(&mut world, &mut four, ip);
    }
    for ip in ["::", "64:ff9b::0.0.0.0", "2002::1"] {
        expect_refused(&mut world, &mut six, ip);
    }
}

#[test]
fn loopback_is_opened_by_its_own_flag_but_for_the_servers_listeners() {
    let setup = Setup::new().config(|config| config.peers.allow_loopback = true);
    let (mut world, mut four, mut six) = world_with_allocations(setup);
    four.permit(&mut world, &["127.0.0.1:1"]).expect_success();
    six.permit(&mut world, &["[::1]:1"]).expect_success();
    four.send(&mut world, "127.0.0.1:80", b"x").expect_to_peer("127.0.0.1:80", b"x");
    six.send(&mut world, "[::1]:80", b"x").expect_to_peer("[::1]:80", b"x");
    for port in [3478, 5349] {
        four.send(&mut world, &with_port("127.0.0.1", port), b"x").expect_drop(Reason::OwnAddress);
        six.send(&mut world, &with_port("::1", port), b"x").expect_drop(Reason::OwnAddress);
    }
    expect_refused(&mut world, &mut four, "10.0.0.1");
}

#[test]
fn denied_ranges_are_refused_and_allowed_ones_win_over_them() {
    let setup = Setup::new().config(|config| {
        config.peers.denied = vec![range("8.0.0.0", "8.255.255.255"), range("2606::", "2606:ffff::")];
        config.peers.allowed = vec![range("8.8.4.4", "8.8.4.4")];
    });
    let (mut world, mut four, mut six) = world_with_allocations(setup);
    expect_refused(&mut world, &mut four, "8.8.8.8");
    expect_refused(&mut world, &mut four, "::ffff:8.8.8.8");
    expect_refused(&mut world, &mut six, "2606:4700::1111");
    expect_refused(&mut world, &mut six, "64:ff9b::8.8.8.8");
    expect_granted(&mut world, &mut four, "8.8.4.4");
    expect_granted(&mut world, &mut four, "9.9.9.9");
}

#[test]
fn a_refusal_names_the_rule_and_the_peer_as_the_operator_would_write_it() {
    let (mut world, mut four, _) = world_with_allocations(Setup::new());
    for (asked, told, expected) in [
        ("10.1.2.3", "10.1.2.3", "private"),
        ("::ffff:10.1.2.3", "10.1.2.3", "private"),
        ("169.254.169.254", "169.254.169.254", "link-local"),
        ("224.0.0.1", "224.0.0.1", "multicast"),
        ("100.64.0.1", "100.64.0.1", "carrier-grade NAT"),
    ] {
        world.events.clear();
        four.permit(&mut world, &[&with_port(asked, 80)]).expect_error(403);
        match world.events.as_slice() {
            [Event::PeerRefused { peer, rule, .. }] => {
                assert_eq!((peer.to_string().as_str(), *rule), (told, expected))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn new_rules_hold_for_new_permissions_and_leave_old_ones() {
    let (mut world, mut four, _) = world_with_allocations(Setup::new());
    four.permit(&mut world, &[PEER]).expect_success();
    let closed = Setup::new().config(|config| config.peers.denied = vec![range("8.8.8.8", "8.8.8.8")]).config;
    world.server.handle_config(std::sync::Arc::new(closed));
    four.send(&mut world, PEER, b"x").expect_to_peer(PEER, b"x");
    four.permit(&mut world, &[PEER]).expect_error(403);
    four.permit(&mut world, &[PEER_V6]).expect_error(443);
}
