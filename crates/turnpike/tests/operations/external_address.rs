//! `external-ip=auto`: each cloud's metadata service, STUN servers, and what happens when they hang, babble, disagree or
//! change their minds. Each test is in a network namespace of its own, where the addresses are the real ones.

use std::net::{SocketAddr, UdpSocket};

use turnpike_wire::attributes::XorMappedAddress;
use turnpike_wire::{Class, Message, MessageWriter, Method};

use crate::client::TurnClient;
use crate::harness::{Finished, PATIENCE, Server};
use crate::metadata_imitation::{Cloud, Service};
use crate::network::{run, within_a_server};

const PRIVATE: &str = "10.66.0.5";
const PUBLIC: &str = "52.29.0.10";

/// The network of a machine in a cloud: one private address with a route to the Internet, and a metadata service's.
fn cloud_network() {
    run("ip", "link set lo up");
    run("ip", "link add outside type veth peer name nowhere");
    run("ip", &format!("address add {PRIVATE}/24 dev outside"));
    run("ip", "link set nowhere up");
    run("ip", "link set outside up");
    run("ip", "route add default via 10.66.0.1 dev outside");
    run("ip", "address add 169.254.169.254/32 dev lo");
    run("ip", "address add 100.100.100.200/32 dev lo");
}

fn start(more: &[&str]) -> Server {
    let address = SocketAddr::new(PRIVATE.parse().unwrap(), 3478);
    let usual = ["--user", "hello:world", "-v", "--external-ip=auto", "--allowed-peer-ip", PRIVATE];
    Server::start_at(address, &[&usual, more].concat())
}

fn log_of(server: Server) -> String {
    let Finished { code, stdout, .. } = server.program.stop("TERM");
    assert_eq!(code, Some(0), "{stdout}");
    stdout
}

fn hello() -> TurnClient {
    let socket = UdpSocket::bind((PRIVATE, 0)).unwrap();
    socket.connect((PRIVATE, 3478)).unwrap();
    TurnClient::hello_over(socket)
}

#[test]
fn every_cloud_tells_its_machines_public_address() {
    within_a_server("external_address::every_cloud_tells_its_machines_public_address", || {
        cloud_network();
        let further = vec![("52.29.0.11", "10.66.0.6")];
        let at_link_local = [
            ("AWS EC2", Cloud::Aws { private: PRIVATE, public: PUBLIC, further }),
            ("AWS EC2", Cloud::OpenStack { private: PRIVATE, public: PUBLIC }),
            ("Google Cloud", Cloud::Google { private: PRIVATE, public: PUBLIC }),
            ("Azure", Cloud::Azure { private: PRIVATE, public: PUBLIC }),
            ("Azure", Cloud::AzureLoadBalancer { private: PRIVATE, public: PUBLIC }),
            ("DigitalOcean", Cloud::DigitalOcean { anchor: PRIVATE, reserved: PUBLIC }),
            ("Hetzner", Cloud::Hetzner { public: PUBLIC }),
        ];
        let service = Service::start("169.254.169.254:80", Cloud::Oracle { private: PRIVATE });
        for (name, cloud) in at_link_local {
            service.become_another(cloud);
            // A proxy that the environment names is not for this.
            let log = log_of(start(&[]));
            let told = format!(
                "External address: {PRIVATE} is {PUBLIC} to the Internet, says the metadata service of {name}"
            );
            assert!(log.contains(&told), "{name}:\n{log}");
            assert!(log.contains(&format!("  clients are told: {PUBLIC}")), "{name}:\n{log}");
        }
        let _alibaba =
            Service::start("100.100.100.200:80", Cloud::Alibaba { private: PRIVATE, public: PUBLIC });
        let log = log_of(start(&["--external-ip-metadata=alibaba"]));
        assert!(
            log.contains(&format!("{PUBLIC} to the Internet, says the metadata service of Alibaba Cloud")),
            "{log}"
        );
        service.become_another(Cloud::Oracle { private: PRIVATE });
        let log = log_of(start(&[]));
        assert!(log.contains("this cloud's service knows no public addresses"), "{log}");
        assert!(log.contains("clients are told the private address. Give external-ip=PUBLIC"), "{log}");
    });
}

#[test]
fn two_addresses_of_a_machine_have_a_public_one_each() {
    within_a_server("external_address::two_addresses_of_a_machine_have_a_public_one_each", || {
        cloud_network();
        run("ip", "address add 10.66.0.6/24 dev outside");
        let further = vec![("52.29.0.11", "10.66.0.6")];
        let _service =
            Service::start("169.254.169.254:80", Cloud::Aws { private: PRIVATE, public: PUBLIC, further });
        let log = log_of(start(&["-L", "10.66.0.6"]));
        assert!(log.contains(&format!("{PRIVATE} is {PUBLIC} to the Internet")), "{log}");
        assert!(log.contains("10.66.0.6 is 52.29.0.11 to the Internet"), "{log}");
    });
}

#[test]
fn a_service_that_hangs_is_given_up_and_one_that_babbles_is_not_believed() {
    let name = "external_address::a_service_that_hangs_is_given_up_and_one_that_babbles_is_not_believed";
    within_a_server(name, || {
        cloud_network();
        let service = Service::start("169.254.169.254:80", Cloud::Hanging);
        let log = log_of(start(&["--external-ip-period=0"]));
        assert!(log.contains(&format!("{PRIVATE}: nobody knows what the Internet calls it")), "{log}");
        assert!(log.contains("http-put-response-hop-limit"), "{log}");
        // All six that live there.
        let mut given_up = 0;
        while given_up < 6 {
            given_up += u8::from(service.asked.recv_timeout(PATIENCE).unwrap() == "given up");
        }
        let words = ["<html>", "10.0.0.1", "127.0.0.1", "224.0.0.1", "[[[[", "\u{7}\u{1b}[31m"];
        for text in words.map(str::to_owned).into_iter().chain(["x".repeat(300_000)]) {
            service.become_another(Cloud::Babbling(text));
            let log = log_of(start(&["--external-ip-period=0"]));
            assert!(log.contains("nobody knows what the Internet calls it"), "{log}");
            assert!(!log.contains('\u{7}') && log.len() < 50_000, "{}", log.len());
        }
    });
}

#[test]
fn nobody_is_asked_about_an_address_that_is_public_or_given() {
    within_a_server("external_address::nobody_is_asked_about_an_address_that_is_public_or_given", || {
        cloud_network();
        run("ip", "address add 52.29.0.99/32 dev lo");
        let cloud = Cloud::Aws { private: PRIVATE, public: PUBLIC, further: Vec::new() };
        let service = Service::start("169.254.169.254:80", cloud);
        let public = SocketAddr::new("52.29.0.99".parse().unwrap(), 3478);
        let log = log_of(Server::start_at(public, &["--user", "hello:world", "--external-ip=auto"]));
        assert!(log.contains("External address: nobody was asked"), "{log}");
        let log = log_of(start(&["--external-ip", &format!("52.29.0.12/{PRIVATE}")]));
        assert!(log.contains("clients are told: 52.29.0.12"), "{log}");
        let log = log_of(start(&["--external-ip-metadata=off"]));
        assert!(log.contains("nobody knows"), "{log}");
        assert!(service.asked.try_recv().is_err(), "the metadata service was asked");
    });
}

/// A STUN server that sees everybody as `mapped`, port and all.
fn stun_server(address: &str, mapped: &'static str) {
    let socket = UdpSocket::bind(address).unwrap();
    std::thread::spawn(move || {
        let (mut input, mut output) = ([0; 1500], [0; 1500]);
        while let Ok((length, from)) = socket.recv_from(&mut input) {
            let id = Message::parse(&input[..length]).unwrap().transaction_id();
            let seen = SocketAddr::new(mapped.parse().unwrap(), from.port());
            let mut writer = MessageWriter::new(&mut output, Class::Success, Method::BINDING, id);
            writer.add(&XorMappedAddress(seen)).fingerprint();
            let answer = writer.finish().unwrap();
            socket.send_to(answer, from).unwrap();
        }
    });
}

#[test]
fn metadata_and_stun_are_compared_and_either_is_enough() {
    within_a_server("external_address::metadata_and_stun_are_compared_and_either_is_enough", || {
        cloud_network();
        let cloud = Cloud::Aws { private: PRIVATE, public: PUBLIC, further: Vec::new() };
        let service = Service::start("169.254.169.254:80", cloud);
        stun_server(&format!("{PRIVATE}:3479"), PUBLIC);
        stun_server(&format!("{PRIVATE}:3480"), "52.29.0.99");
        let agreeing = format!("--external-ip-stun={PRIVATE}:3479");
        let other = format!("--external-ip-stun={PRIVATE}:3480");
        let log = log_of(start(&[&agreeing]));
        assert!(log.contains(&format!("AWS EC2; so does the STUN server {PRIVATE}:3479")), "{log}");
        let log = log_of(start(&[&agreeing, &other]));
        let told = format!(
            "the STUN server {PRIVATE}:3480 says {PRIVATE} is 52.29.0.99; clients are told {PUBLIC} all the same"
        );
        assert!(log.contains(&told), "{log}");
        service.become_another(Cloud::Babbling("nothing".to_owned()));
        let log = log_of(start(&[&other]));
        assert!(log.contains("is 52.29.0.99 to the Internet, says the STUN server"), "{log}");
        // One that is not there costs a moment, and nothing else.
        let log = log_of(start(&[&other, &format!("--external-ip-stun={PRIVATE}:9")]));
        assert!(log.contains(&format!("the STUN server {PRIVATE}:9 was asked: ")), "{log}");
        assert!(log.contains("clients are told: 52.29.0.99"), "{log}");
    });
}

#[test]
fn another_address_is_told_to_new_allocations_while_old_ones_go_on() {
    let name = "external_address::another_address_is_told_to_new_allocations_while_old_ones_go_on";
    within_a_server(name, || {
        cloud_network();
        let cloud = |public| Cloud::Aws { private: PRIVATE, public, further: Vec::new() };
        let service = Service::start("169.254.169.254:80", cloud(PUBLIC));
        let mut server = start(&["--external-ip-period=2"]);
        let (mut caller, mut callee) = (hello(), hello());
        let (one, other) = (caller.allocate().relayed, callee.allocate().relayed);
        assert_eq!((one.ip().to_string(), other.ip().to_string()), (PUBLIC.to_owned(), PUBLIC.to_owned()));
        caller.bind(0x4000, other).unwrap();
        callee.permit(one.ip()).unwrap();
        let talk = |caller: &mut TurnClient, callee: &mut TurnClient, text: &[u8]| {
            caller.send_on(0x4000, text);
            let received = callee.receive();
            assert_eq!((received.data.as_slice(), received.peer), (text, one));
            callee.send(one, text);
            let received = caller.receive();
            assert_eq!((received.data.as_slice(), received.channel), (text, Some(0x4000)));
        };
        talk(&mut caller, &mut callee, b"before");
        service.become_another(cloud("52.29.0.20"));
        server.expect(&format!("it has changed from {PUBLIC} to 52.29.0.20"));
        talk(&mut caller, &mut callee, b"after");
        let mut newcomer = hello();
        let relayed = newcomer.allocate().relayed;
        assert_eq!(relayed.ip().to_string(), "52.29.0.20");
        // Old and new reach each other by what each was told.
        callee.permit(relayed.ip()).unwrap();
        newcomer.permit(other.ip()).unwrap();
        callee.send(relayed, b"welcome");
        assert_eq!(newcomer.receive().data, b"welcome");
        newcomer.send(other, b"thanks");
        assert_eq!(callee.receive().data, b"thanks");
        talk(&mut caller, &mut callee, b"and after that");
        // That nobody answers for a while changes nothing.
        service.become_another(Cloud::Hanging);
        while service.asked.recv_timeout(PATIENCE).unwrap() != "given up" {}
        assert_eq!(hello().allocate().relayed.ip().to_string(), "52.29.0.20");
        let log = log_of(server);
        assert_eq!(log.matches("it has changed from").count(), 1, "{log}");
    });
}
