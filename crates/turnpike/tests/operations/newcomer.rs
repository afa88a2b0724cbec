//! A newcomer on a machine in a cloud: one command, and whoever is outside relays by what it printed.

use serde_json::Value;

use crate::harness::{Directory, PEER as ECHO, Program, TURNPIKE, TURNSERVER, UCLIENT};
use crate::metadata_imitation::{Cloud, Service};
use crate::network::within_a_server;
use crate::one_to_one_nat::{CLIENT, Internet, PEER, PRIVATE, PUBLIC};

fn after<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("{label} in:\n{text}")).trim()
}

#[test]
fn one_command_on_an_ec2_like_host_gives_uris_that_work_from_outside() {
    within_a_server("newcomer::one_command_on_an_ec2_like_host_gives_uris_that_work_from_outside", || {
        let internet = Internet::build();
        crate::network::run("ip", "address add 169.254.169.254/32 dev lo");
        // A bridge of containers, as many hosts have one: nobody outside is to be sent there.
        crate::network::run("ip", "link add docker0 type veth peer name container");
        crate::network::run("ip", "link set container up");
        crate::network::run("ip", "address add 172.17.0.1/16 dev docker0");
        crate::network::run("ip", "link set docker0 up");
        let cloud = Cloud::Aws { private: PRIVATE, public: PUBLIC, further: Vec::new() };
        let _service = Service::start("169.254.169.254:80", cloud);
        let directory = Directory::new();
        let state = directory.file("state");
        let mut up = Program::start(TURNPIKE, &["up", "--state-dir", &state]);
        up.expect("Ctrl-C");
        let said = up.so_far().to_owned();
        let told = format!(
            "relaying from {PRIVATE}, clients are told {PUBLIC} (said by the metadata service of AWS EC2)"
        );
        assert!(said.contains(&told), "{said}");
        let uris: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("turn:")).collect();
        assert_eq!(
            uris,
            [format!("turn:{PUBLIC}:3478"), format!("turn:{PUBLIC}:3478?transport=tcp")],
            "{said}"
        );
        assert!(!said.contains("relaying from 172.17.0.1"), "{said}");

        let (username, password) = (after(&said, "username "), after(&said, "password "));
        let secret = format!("{state}/secret");
        let probe =
            internet.start(TURNPIKE, &["probe", "--json", "--secret-file", &secret, uris[0]]).finish();
        let found: Value = serde_json::from_str(&probe.stdout).expect(&probe.stdout);
        assert_eq!((probe.code, &found["worst"]), (Some(0), &Value::from("ok")), "{}", probe.stdout);
        assert!(
            probe.stdout.contains(&format!("the relayed address is the server's own, {PUBLIC}")),
            "{}",
            probe.stdout
        );
        assert!(
            probe.stdout.contains("10 messages to another allocation and back: none lost"),
            "{}",
            probe.stdout
        );

        // A peer somewhere else, by coturn's kind of client.
        let mut echo = internet.start(ECHO, &["-L", PEER, "-p", "4000", "-v"]);
        echo.expect(&format!("listening on {PEER}:4000"));
        let arguments =
            ["-u", username, "-w", password, "-e", PEER, "-r", "4000", "-L", CLIENT, "-n", "5", "-c", PUBLIC];
        let relayed = internet.start(UCLIENT, &arguments).finish();
        assert_eq!(relayed.code, Some(0), "{}{}", relayed.stdout, relayed.stderr);
        assert!(relayed.stdout.contains("tot_send_msgs=5, tot_recv_msgs=5"), "{}", relayed.stdout);
        echo.signal("TERM");
        up.signal("INT");
    });
}

#[test]
fn a_server_that_was_not_told_its_public_address_is_found_out_from_outside_and_from_inside() {
    let name =
        "newcomer::a_server_that_was_not_told_its_public_address_is_found_out_from_outside_and_from_inside";
    within_a_server(name, || {
        let internet = Internet::build();
        crate::network::run("ip", "address add 169.254.169.254/32 dev lo");
        let cloud = Cloud::Aws { private: PRIVATE, public: PUBLIC, further: Vec::new() };
        let _service = Service::start("169.254.169.254:80", cloud);
        let arguments = ["-n", "--user", "hello:world", "-L", PRIVATE, "--realm", "example.org"];
        let mut server = Program::start(TURNSERVER, &arguments);
        server.expect("Total auth threads:");
        let uri = format!("turn:{PUBLIC}:3478");
        let probe =
            internet.start(TURNPIKE, &["probe", "--user", "hello", "--password", "world", &uri]).finish();
        assert_eq!(probe.code, Some(2), "{}", probe.stdout);
        assert!(
            probe.stdout.contains(&format!("relays at {PRIVATE}, which nobody on the Internet can reach")),
            "{}",
            probe.stdout
        );
        assert!(
            probe.stdout.contains(&format!("set external-ip={PUBLIC} on the server, or external-ip=auto")),
            "{}",
            probe.stdout
        );
        let doctor = Program::start(TURNPIKE, &[&["doctor", "--"][..], &arguments].concat()).finish();
        assert_eq!(doctor.code, Some(2), "{}", doctor.stdout);
        assert!(
            doctor.stdout.contains(&format!("clients are told {PRIVATE}, but {PRIVATE} is {PUBLIC}")),
            "{}",
            doctor.stdout
        );
        let stale = ["doctor", "--", "-X", "52.29.0.99"];
        let doctor = Program::start(TURNPIKE, &[&stale[..], &arguments].concat()).finish();
        assert!(doctor.stdout.contains("clients are told 52.29.0.99"), "{}", doctor.stdout);
        assert!(
            doctor.stdout.contains(&format!("set external-ip={PUBLIC}, or external-ip=auto")),
            "{}",
            doctor.stdout
        );
    });
}
