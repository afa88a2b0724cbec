//! Round robin by a name server that checks who is ready, PowerDNS, as in docs/high-availability.md: clients are given
//! the servers that live and take newcomers. Where it is not installed, there is nothing to try.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::TurnClient;
use crate::harness::{Directory, Finished, PATIENCE, Program, Server, UCLIENT, loopback_address, run};
use crate::log_destinations::can_unshare;

#[test]
fn a_name_leads_to_the_servers_that_are_ready_and_to_no_other() {
    let test = "a_name_leads_to_the_servers_that_are_ready_and_to_no_other";
    if !Path::new(POWERDNS).exists() {
        println!("skipped: {test} needs pdns_server");
        return;
    }
    if UdpSocket::bind((loopback_address(), 53)).is_err() {
        println!("skipped: {test} needs root, for port 53");
        return;
    }
    if !can_unshare(test) {
        return;
    }
    let [one, other] = [loopback_address(), loopback_address()];
    let start = |ip: IpAddr| {
        let health = format!("--prometheus-address={ip}");
        let more = ["--user", "hello:world", "--allow-loopback-peers", "-v", "--prometheus", &health];
        Server::start_at(SocketAddr::new(ip, 3478), &more)
    };
    let (dying, draining) = (start(one), start(other));
    let names = NameServer::start([one, other]);
    names.await_answer(&[one, other]);
    dying.program.stop("KILL");
    names.await_answer(&[other]);
    names.assert_relays();
    let _returned = start(one);
    names.await_answer(&[one, other]);
    // It has somebody to wait for.
    let mut session = TurnClient::hello(draining.address);
    session.allocate();
    draining.program.signal("USR1");
    names.await_answer(&[one]);
    names.assert_relays();
    session.refresh(None).unwrap();
}

/// PowerDNS with a zone of one name.
struct NameServer {
    _program: Program,
    directory: Directory,
}

impl NameServer {
    fn start(servers: [IpAddr; 2]) -> Self {
        let (directory, ip) = (Directory::new(), loopback_address());
        let zone = directory.write("zone", &zone(servers));
        let zones =
            directory.write("zones", &format!("zone \"example.org\" {{ type master; file \"{zone}\"; }};\n"));
        directory.write("resolv.conf", &format!("nameserver {ip}\n"));
        let path = directory.path().to_str().unwrap();
        let mut program = Program::start(
            POWERDNS,
            &[
                &format!("--config-dir={path}"),
                &format!("--socket-dir={path}"),
                "--launch=bind",
                &format!("--bind-config={zones}"),
                &format!("--local-address={ip}"),
                "--enable-lua-records=yes",
                "--lua-health-checks-interval=1",
                "--cache-ttl=0",
                "--query-cache-ttl=0",
                "--daemon=no",
                "--guardian=no",
                "--disable-syslog=yes",
                "--security-poll-suffix=",
            ],
        );
        program.expect("ready to distribute questions");
        NameServer { _program: program, directory }
    }

    /// Runs a program that resolves names here.
    fn run(&self, program: &str, arguments: &str) -> Finished {
        let resolver = self.directory.file("resolv.conf");
        let command = format!("mount --bind {resolver} /etc/resolv.conf && exec {program} {arguments}");
        run("unshare", &["-rm", "sh", "-c", &command])
    }

    fn await_answer(&self, wanted: &[IpAddr]) {
        let (wanted, deadline) = (wanted.iter().copied().collect::<BTreeSet<_>>(), Instant::now() + PATIENCE);
        loop {
            let said = self.run("getent", "ahostsv4 turn.example.org").stdout;
            let addresses = said.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
            let found: BTreeSet<IpAddr> = addresses.collect();
            if found == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "wanted {wanted:?}: {said}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    fn assert_relays(&self) {
        let Finished { stdout, stderr, .. } =
            self.run(UCLIENT, "-u hello -w world -y -c -n 3 -z 5 turn.example.org");
        assert!(stdout.contains("Total lost packets 0 (0.000000%)"), "{stdout}{stderr}");
    }
}

/// As in docs/high-availability.md.
fn zone([one, other]: [IpAddr; 2]) -> String {
    format!(
        "$ORIGIN example.org.\n\
         @    3600 IN SOA ns hostmaster 1 3600 600 86400 60\n\
         @    3600 IN NS  ns\n\
         turn 5    IN LUA A \"ifurlup('http://turn.example.org:9641/readyz', \
         {{'{one}', '{other}'}}, {{selector='all', stringmatch='ready'}})\"\n"
    )
}

const POWERDNS: &str = "/usr/sbin/pdns_server";
