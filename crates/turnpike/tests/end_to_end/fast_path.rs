//! The kernel fast path under a real server: real hosts in namespaces, real sockets that verify checksums.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use turnpike_client::AllocateOptions;
use turnpike_wire::Family;

use crate::client::TurnClient;
use crate::harness::{PATIENCE, PEER, Program, Server, TURNSERVER, UCLIENT};
use crate::network::{Network, Side, received_by_sockets, run, within_a_server};
use crate::proxy_protocol::{binding, named_client};

/// A client and its peer, and what they have sent: from the client, and to it.
struct Call {
    client: TurnClient,
    peer: UdpSocket,
    relayed: SocketAddr,
    sent: [u64; 2],
    bytes: [u64; 2],
}

fn server(listen: &str, more: &[&str]) -> Server {
    let open = ["--allowed-peer-ip=10.0.0.0-10.255.255.255", "--allowed-peer-ip=fd00::-fdff::"];
    let relay = ["--user", "hello:world", "-v", "-E", "10.2.0.1", "-E", "fd02::1"];
    Server::start_at(SocketAddr::new(listen.parse().unwrap(), 3478), &[&relay[..], &open, more].concat())
}

impl Call {
    fn new(network: &Network, server: &Server, family: Family) -> Self {
        let any = if server.address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Call::over(network.socket(Side::Clients, any, Some(server.address)), network, family)
    }

    fn over(socket: UdpSocket, network: &Network, family: Family) -> Self {
        let mut client = TurnClient::hello_over(socket);
        let here = if family == Family::Ipv4 { "10.2.0.2:0" } else { "[fd02::2]:0" };
        let peer = network.socket(Side::Peers, here, None);
        let options = AllocateOptions { family: Some(family), ..AllocateOptions::default() };
        let relayed = client.try_allocate(options).unwrap().relayed;
        client.bind(CHANNEL, peer.local_addr().unwrap()).unwrap();
        Call { client, peer, relayed, sent: [0; 2], bytes: [0; 2] }
    }

    /// Sends to the peer, and returns whether it arrived as it was sent.
    fn send_to_peer(&mut self, size: usize, patience: Duration) -> bool {
        let data = pattern(size, self.sent[0]);
        self.client.send_on(CHANNEL, &data);
        self.peer.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 2000];
        let Ok((length, from)) = self.peer.recv_from(&mut buffer) else { return false };
        assert_eq!((&buffer[..length], from), (&data[..], self.relayed));
        self.sent[0] += 1;
        self.bytes[0] += size as u64;
        true
    }

    fn send_to_client(&mut self, size: usize) {
        let data = pattern(size, self.sent[1]);
        self.peer.send_to(&data, self.relayed).unwrap();
        let received = self.client.receive();
        assert_eq!((received.channel, received.data), (Some(CHANNEL), data));
        self.sent[1] += 1;
        self.bytes[1] += size as u64;
    }

    /// Datagrams of many sizes, each after the other's arrival; returns how many of them came up to sockets of the server.
    fn talk(&mut self) -> u64 {
        let before = received_by_sockets();
        for size in SIZES.iter().cycle().take(TURNS) {
            assert!(self.send_to_peer(*size, PATIENCE));
            self.send_to_client(*size);
        }
        received_by_sockets() - before
    }

    /// Sends datagrams of 1000 bytes without waiting; returns how many of them arrived.
    fn flood_peer(&mut self, count: u64) -> u64 {
        let data = pattern(1000, 0);
        (0..count).for_each(|_| self.client.send_on(CHANNEL, &data));
        self.peer.set_read_timeout(Some(QUIET)).unwrap();
        let mut buffer = [0; 2000];
        std::iter::from_fn(|| self.peer.recv(&mut buffer).ok()).count() as u64
    }

    fn flood_client(&mut self, count: u64) -> u64 {
        let data = pattern(1000, 0);
        (0..count).for_each(|_| assert_eq!(self.peer.send_to(&data, self.relayed).unwrap(), 1000));
        std::iter::from_fn(|| self.client.receive_within(QUIET)).count() as u64
    }

    /// Neighbours are found out by user space's packets.
    fn warm_up(&mut self) {
        for _ in 0..3 {
            assert!(self.send_to_peer(100, PATIENCE));
            self.send_to_client(100);
        }
    }

    fn assert_told(mut self, server: &mut Server, by_kernel: bool) {
        self.client.refresh(Some(0)).unwrap();
        if by_kernel {
            // A few of them went by the server: until neighbours were known, and now and then since.
            let line = server.expect(": path: kernel");
            let (packets, bytes) = (self.sent[0] + self.sent[1], self.bytes[0] + self.bytes[1]);
            let of = |all: u64, of: &str| {
                let (before, _) = line.split_once(&format!(" of {all} {of}")).expect(&line);
                before.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
            };
            let (by_kernel, bytes_by_kernel) = (of(packets, "packets"), of(bytes, "bytes"));
            assert!((2 * TURNS as u64 - REFRESHED..=packets).contains(&by_kernel), "{line}");
            assert!(bytes_by_kernel > bytes / 2 && bytes_by_kernel <= bytes, "{line}");
        }
        let line = server.expect(": usage:");
        let [sent, received] = self.sent;
        let [sent_bytes, received_bytes] = self.bytes;
        let expected = format!("rp={sent}, rb={sent_bytes}, sp={received}, sb={received_bytes}");
        assert!(line.contains(&expected), "{line}, not {expected}");
    }
}

#[test]
fn a_call_is_relayed_by_the_kernel_both_ways_and_all_of_it_is_told() {
    within_a_server("fast_path::a_call_is_relayed_by_the_kernel_both_ways_and_all_of_it_is_told", || {
        let network = Network::build(true);
        for (place, name) in [("tc", "tc"), ("xdp", "XDP")] {
            for listen in ["10.1.0.1", "fd01::1"] {
                let mut server = server(listen, &[&format!("--fast-path={place}")]);
                for family in [Family::Ipv4, Family::Ipv6] {
                    let mut call = Call::new(&network, &server, family);
                    call.warm_up();
                    let up = call.talk();
                    assert!(up <= REFRESHED, "{up} of {} went up: {name}, {listen} to {family:?}", 2 * TURNS);
                    call.assert_told(&mut server, true);
                }
                let said = server.program.stop("TERM").stdout;
                let line = format!("Kernel fast path: {name} on clients, peers, to IPv4 and IPv6 addresses");
                assert!(said.contains(&line), "{said}");
                assert!(said.contains("packets and lost 0;"), "{said}");
            }
        }
        assert_eq!([Side::Clients, Side::Peers].map(|side| network.wrong_checksums(side)), [0, 0]);
    });
}

#[test]
fn a_server_that_gave_up_root_is_still_relayed_for_by_the_kernel() {
    within_a_server("fast_path::a_server_that_gave_up_root_is_still_relayed_for_by_the_kernel", || {
        let network = Network::build(true);
        let mut server = server("10.1.0.1", &["--fast-path=tc", "--proc-user=nobody"]);
        assert!(server.program.so_far().contains("Runs as user nobody from here on"));
        let mut call = Call::new(&network, &server, Family::Ipv4);
        call.warm_up();
        let up = call.talk();
        assert!(up <= REFRESHED, "{up} of {} went up", 2 * TURNS);
        call.assert_told(&mut server, true);
    });
}

#[test]
fn two_clients_of_one_server_meet_in_the_kernel() {
    within_a_server("fast_path::two_clients_of_one_server_meet_in_the_kernel", || {
        let network = Network::build(true);
        // Behind a NAT, clients know each other by addresses that no packet here bears.
        for (place, external) in
            [("tc", "10.2.0.1"), ("xdp", "10.2.0.1"), ("tc", "203.0.113.9"), ("xdp", "203.0.113.9")]
        {
            let mut server = server("10.1.0.1", &[&format!("--fast-path={place}"), "-X", external]);
            let mut clients = [0, 1].map(|_| {
                TurnClient::hello_over(network.socket(Side::Clients, "0.0.0.0:0", Some(server.address)))
            });
            let relays = clients.each_mut().map(|client| client.allocate().relayed);
            assert_eq!(relays.map(|relayed| relayed.ip().to_string()), [external; 2]);
            clients[0].bind(CHANNEL, relays[1]).unwrap();
            clients[1].bind(CHANNEL + 1, relays[0]).unwrap();
            let before = received_by_sockets();
            for turn in 0..TURNS as u64 {
                let data = pattern(160, turn);
                clients[0].send_on(CHANNEL, &data);
                let received = clients[1].receive();
                assert_eq!((received.channel, received.data), (Some(CHANNEL + 1), data.clone()));
                clients[1].send_on(CHANNEL + 1, &data);
                let received = clients[0].receive();
                assert_eq!((received.channel, received.data), (Some(CHANNEL), data));
            }
            let up = received_by_sockets() - before;
            assert!(up <= REFRESHED, "{up} of {} went up at {place}", 2 * TURNS);
            for client in &mut clients {
                client.refresh(Some(0)).unwrap();
                let bytes = 160 * TURNS;
                let expected = format!("rp={TURNS}, rb={bytes}, sp={TURNS}, sb={bytes}");
                let line = server.expect(": usage:");
                assert!(line.contains(&expected), "{line}");
            }
        }
        assert_eq!(network.wrong_checksums(Side::Clients), 0);
    });
}

#[test]
fn sums_left_to_the_hardware_are_relayed_by_user_space() {
    within_a_server("fast_path::sums_left_to_the_hardware_are_relayed_by_user_space", || {
        assert_relayed_by_user_space(&Network::build(false), &["--fast-path=tc"]);
    });
}

#[test]
fn a_client_behind_a_proxy_is_relayed_by_user_space() {
    within_a_server("fast_path::a_client_behind_a_proxy_is_relayed_by_user_space", || {
        let network = Network::build(true);
        for (place, named) in [("tc", "10.1.0.77:4000"), ("xdp", "10.1.0.2:4000")] {
            let arguments = [&format!("--fast-path={place}"), "--proxy-from=10.1.0.2"];
            let mut server = server("10.1.0.1", &arguments);
            // The proxy names the client in its first datagram; what follows looks like any client's, from the proxy.
            let proxy = network.socket(Side::Clients, "0.0.0.0:0", Some(server.address));
            proxy.send(&[named_client(named.parse().unwrap()), binding()].concat()).unwrap();
            assert!(proxy.recv(&mut [0; 1500]).unwrap() > 0);
            let mut call = Call::over(proxy, &network, Family::Ipv4);
            call.warm_up();
            assert_eq!(call.talk(), 2 * TURNS as u64);
            call.assert_told(&mut server, false);
            let line = server.expect("closed (2nd stage)");
            assert!(line.contains(&format!("remote {named}")), "{line}");
            assert!(!server.program.stop("TERM").stdout.contains("path: kernel"));
        }
    });
}

#[test]
fn sessions_with_a_limit_are_relayed_by_the_kernel_and_held_to_it() {
    within_a_server("fast_path::sessions_with_a_limit_are_relayed_by_the_kernel_and_held_to_it", || {
        let network = Network::build(true);
        for place in ["tc", "xdp"] {
            let fast_path = format!("--fast-path={place}");
            let mut roomy = server("10.1.0.1", &[&fast_path, "--max-bps=1000000"]);
            let mut call = Call::new(&network, &roomy, Family::Ipv4);
            call.warm_up();
            assert!(call.talk() <= REFRESHED, "what fits goes by the kernel");
            call.assert_told(&mut roomy, true);
            drop(roomy);

            let mut narrow = server("10.1.0.1", &[&fast_path, "--max-bps=20000"]);
            let mut call = Call::new(&network, &narrow, Family::Ipv4);
            call.warm_up();
            let begun = Instant::now();
            let arrived = [call.flood_peer(200), call.flood_client(200)];
            // So many seconds may have begun, the last of them just now.
            let seconds = begun.elapsed().as_secs() + 2;
            for arrived in arrived {
                assert!((19..=20 * seconds).contains(&arrived), "{arrived} in {seconds} s, by {place}");
            }
            call.client.refresh(Some(0)).unwrap();
            let line = narrow.expect(": usage:");
            let [sent, received] = arrived.map(|arrived| arrived + 3);
            assert!(
                line.contains(&format!("rp={sent}, ")) && line.contains(&format!("sp={received}, ")),
                "{line}"
            );
            let said = narrow.program.stop("TERM").stdout;
            assert!(relayed_by_kernel(&said) >= 30, "{said}");
            assert!(!said.contains("over_limit=0\n"), "{said}");
        }
    });
}

fn assert_relayed_by_user_space(network: &Network, arguments: &[&str]) {
    let mut server = server("10.1.0.1", arguments);
    let mut call = Call::new(network, &server, Family::Ipv4);
    call.warm_up();
    assert_eq!(call.talk(), 2 * TURNS as u64);
    call.assert_told(&mut server, false);
    assert!(!server.program.stop("TERM").stdout.contains("path: kernel"));
}

#[test]
fn a_permission_that_expires_ends_the_kernels_relaying_and_a_new_one_begins_it_again() {
    within_a_server(
        "fast_path::a_permission_that_expires_ends_the_kernels_relaying_and_a_new_one_begins_it_again",
        || {
            let network = Network::build(true);
            for place in ["tc", "xdp"] {
                let server =
                    server("10.1.0.1", &[&format!("--fast-path={place}"), "--permission-lifetime=2"]);
                let mut call = Call::new(&network, &server, Family::Ipv4);
                call.warm_up();
                let peer = call.peer.local_addr().unwrap();
                // The kernel alone hears of this call until its time is up.
                let deadline = Instant::now() + PATIENCE;
                while call.send_to_peer(160, Duration::from_millis(300)) {
                    assert!(Instant::now() < deadline, "the permission has no end");
                }
                call.peer.send_to(b"no more", call.relayed).unwrap();
                assert_eq!(call.client.receive_within(Duration::from_millis(300)), None);
                call.client.permit(peer.ip()).unwrap();
                call.warm_up();
                let before = received_by_sockets();
                assert!(call.send_to_peer(160, PATIENCE));
                call.send_to_client(160);
                assert_eq!(received_by_sockets(), before, "again by the kernel");
            }
        },
    );
}

#[test]
fn a_killed_server_leaves_nothing_in_the_kernel() {
    within_a_server("fast_path::a_killed_server_leaves_nothing_in_the_kernel", || {
        let network = Network::build(true);
        for place in ["tc", "xdp"] {
            let server = server("10.1.0.1", &[&format!("--fast-path={place}")]);
            let mut call = Call::new(&network, &server, Family::Ipv4);
            call.warm_up();
            let attached = || {
                let said = std::process::Command::new("ip").args(["-d", "link", "show"]).output().unwrap();
                String::from_utf8_lossy(&said.stdout).contains("prog/xdp")
            };
            assert_eq!(attached(), place == "xdp");
            server.program.stop("KILL");
            assert!(!attached());
            // What the program would still relay goes up now, to a port that nobody has any more.
            let mut refused = false;
            for _ in 0..20 {
                call.client.send_on_unless_refused(CHANNEL, b"hello");
                call.client.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                let error = call.client.socket.recv(&mut [0; 10]).unwrap_err();
                refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                if refused {
                    break;
                }
            }
            assert!(refused, "nobody is there any more");
            call.peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            assert!(call.peer.recv(&mut [0; 10]).is_err(), "nothing was relayed");
        }
    });
}

#[test]
fn what_loading_needed_is_given_up_before_the_first_packet() {
    within_a_server("fast_path::what_loading_needed_is_given_up_before_the_first_packet", || {
        let network = Network::build(true);
        let server = server("10.1.0.1", &["--fast-path=tc"]);
        let mut call = Call::new(&network, &server, Family::Ipv4);
        call.warm_up();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.program.id())).unwrap();
        let mut threads = 0;
        for task in tasks {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            for set in ["CapEff:", "CapPrm:", "CapInh:"] {
                let held = status.lines().find_map(|line| line.strip_prefix(set)).unwrap();
                let held = u64::from_str_radix(held.trim(), 16).unwrap();
                // Network administration, system administration, performance monitoring.
                assert!([12, 21, 38].iter().all(|capability| held & 1 << capability == 0), "{set} {held:x}");
            }
            threads += 1;
        }
        assert!(threads >= 2, "the worker is among them");
        call.client.permit([10, 2, 0, 77].into()).unwrap();
        let up = call.talk();
        assert!(up <= REFRESHED, "tables can still be changed, and {up} went up");
    });
}

#[test]
fn why_it_runs_where_it_runs_or_not_at_all_is_told_and_calls_go_on() {
    within_a_server("fast_path::why_it_runs_where_it_runs_or_not_at_all_is_told_and_calls_go_on", || {
        let network = Network::build(true);
        let forwarding = |on: &str| {
            for family in ["ipv4", "ipv6"] {
                std::fs::write(format!("/proc/sys/net/{family}/conf/lo/forwarding"), on).unwrap();
            }
        };
        let told = |arguments: &[&str], wanted: &str| {
            let server = server("10.1.0.1", arguments);
            let mut call = Call::new(&network, &server, Family::Ipv4);
            call.warm_up();
            let said = server.program.stop("TERM").stdout;
            assert!(said.contains(wanted), "{wanted}: {said}");
        };
        told(&[], "Kernel fast path: off\n");
        told(
            &["--fast-path=auto"],
            "Kernel fast path: tc on clients, peers, to IPv4 and IPv6 addresses; no XDP: there is",
        );
        told(&["--fast-path=auto", "--fast-path-interface=peers"], "Kernel fast path: tc on peers, to");
        told(&["--fast-path=tc", "--fast-path-interface=nope"], "asks for it: there is no interface nope");
        told(&["--fast-path=tc", "--fast-path-interface=lo"], "asks for it: lo is no Ethernet interface");
        told(&["--fast-path=tc", "-i", "peers"], "asks for it: relay-device: it overrides the routing table");
        run("ethtool", "-K clients gro off");
        network.run(Side::Clients, "ethtool", "-K far gro off");
        told(&["--fast-path=xdp"], "asks for it: clients cannot send what XDP programs hand to it");
        forwarding("0");
        told(&["--fast-path=tc"], "sysctl -w net.ipv4.conf.lo.forwarding=1");
        std::fs::write("/proc/sys/net/ipv4/conf/lo/forwarding", "1").unwrap();
        told(&["--fast-path=tc"], "to IPv4 addresses only (net.ipv6.conf.lo.forwarding is off)");

        // Root without the capabilities that count.
        let mut arguments =
            vec!["--bounding-set=-bpf,-net_admin,-sys_admin,-perfmon", "--inh-caps=-all", TURNSERVER];
        arguments.extend(["-n", "-m", "1", "-L", "10.1.0.1", "--user", "hello:world", "--fast-path=auto"]);
        let mut program = Program::start("setpriv", &arguments);
        program.expect("asks for it: loading programs into the kernel needs CAP_BPF and CAP_NET_ADMIN");
    });
}

/// coturn's client where it is installed, and ours: channels up and down, client to client, both families, both ways of
/// passing padding.
#[test]
fn real_clients_lose_nothing_to_the_kernel() {
    within_a_server("fast_path::real_clients_lose_nothing_to_the_kernel", || {
        let network = Network::build(true);
        let peers = ["-L", "10.2.0.2", "-L", "fd02::2", "-p", "3480"];
        let _peer = network.start(Side::Peers, PEER, &peers);
        let clients = [UCLIENT, "/usr/bin/turnutils_uclient"].into_iter().filter(|it| Path::new(it).exists());
        for (client, place) in clients.flat_map(|client| ["tc", "xdp"].map(|place| (client, place))) {
            let arguments = ["-L", "fd01::1", "--rfc5766-channel-numbers", &format!("--fast-path={place}")];
            let server = server("10.1.0.1", &arguments);
            let mut runs = Vec::new();
            for (listen, echo, family) in
                [("10.1.0.1", "10.2.0.2", "-X"), ("10.1.0.1", "fd02::2", "-x"), ("fd01::1", "fd02::2", "-x")]
            {
                for way in [&["-l", "160", "-e", echo, "-r", "3480"][..], &["-l", "171", "-y"]] {
                    let common =
                        ["-u", "hello", "-w", "world", "-n", "40", "-m", "3", "-z", "10", "-c", family];
                    let arguments = [&common[..], way, &[listen]].concat();
                    runs.push((network.start(Side::Clients, client, &arguments), arguments));
                }
            }
            for (run, arguments) in runs {
                let finished = run.finish();
                let said = &finished.stdout;
                assert_eq!(finished.code, Some(0), "{client} {arguments:?}: {said}");
                let whole = said.contains("Total lost packets 0 (0.000000%)");
                assert!(whole, "{client} {arguments:?}: {said}");
            }
            let said = server.program.stop("TERM").stdout;
            let relayed = relayed_by_kernel(&said);
            println!("counted: {client} at {place}: the kernel relayed {relayed} packets");
            // Six times three clients of forty messages, there and back.
            assert!(relayed > 1000, "{client} {place}: {said}");
        }
        assert_eq!([Side::Clients, Side::Peers].map(|side| network.wrong_checksums(side)), [0, 0]);
    });
}

/// How many packets the server said the kernel relayed.
fn relayed_by_kernel(said: &str) -> u64 {
    let (_, number) = said.split_once("Kernel fast path: relayed ").expect("the server told it at its end");
    number.split(' ').next().unwrap().parse().unwrap()
}

/// Differs with the number of the datagram.
fn pattern(size: usize, number: u64) -> Vec<u8> {
    (0..size as u64).map(|index| (index * 7 + number * 13) as u8).collect()
}

const CHANNEL: u16 = 0x4000;
/// Nothing comes any more.
const QUIET: Duration = Duration::from_millis(500);
const SIZES: [usize; 8] = [0, 1, 2, 3, 160, 161, 1000, 1400];
const TURNS: usize = 160;
/// Every ten seconds a packet of each way goes up, and machines are slow now and then.
const REFRESHED: u64 = 8;
