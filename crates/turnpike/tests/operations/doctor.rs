//! `turnpike doctor`, `turnpike probe` and `turnpike firewall` against servers with something wrong with them.

use std::os::unix::fs::PermissionsExt;

use rcgen::generate_simple_self_signed;
use serde_json::Value;

use crate::harness::{Directory, Finished, Program, Server, TURNPIKE, TURNSERVER, loopback_address, run};

struct Certificate {
    directory: Directory,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let made = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let directory = Directory::new();
        directory.write("cert.pem", &made.cert.pem());
        directory.write("pkey.pem", &made.signing_key.serialize_pem());
        Certificate { directory }
    }

    fn options(&self) -> [String; 4] {
        ["--cert".into(), self.directory.file("cert.pem"), "--pkey".into(), self.directory.file("pkey.pem")]
    }
}

fn probe(more: &[&str]) -> (Finished, Vec<(String, String, String)>) {
    let finished = run(TURNPIKE, &[&["probe", "--json"], more].concat());
    let found: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = found["findings"].as_array().unwrap().iter();
    let findings = findings
        .map(|it| {
            (
                text(&it["id"]),
                text(&it["severity"]),
                format!("{} {}", text(&it["evidence"]), text(&it["fix"])),
            )
        })
        .collect();
    (finished, findings)
}

fn severity<'f>(findings: &'f [(String, String, String)], id: &str) -> &'f str {
    let found = findings.iter().find(|(its, ..)| its == id);
    found.map_or_else(|| panic!("no {id} in {findings:#?}"), |(_, severity, _)| severity.as_str())
}

fn text<'f>(findings: &'f [(String, String, String)], id: &str) -> &'f str {
    let found = findings.iter().find(|(its, ..)| its == id);
    found.map_or_else(|| panic!("no {id} in {findings:#?}"), |(_, _, text)| text.as_str())
}

#[test]
fn a_probe_goes_all_the_way_by_udp_tcp_tls_and_dtls() {
    let certificate = Certificate::new("turn.example.org");
    let options = certificate.options();
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["--dtls"]).collect();
    let server = Server::start(&options);
    let ip = server.address.ip();
    for uri in [
        format!("turn:{ip}"),
        format!("turn:{ip}?transport=tcp"),
        format!("turns:{ip}"),
        format!("turns:{ip}?transport=udp"),
    ] {
        let (_, findings) =
            probe(&["--user", "hello", "--password", "world", "--name", "turn.example.org", &uri]);
        for id in ["dns", "reach", "challenge", "credentials", "echo"] {
            assert_eq!(severity(&findings, id), "ok", "{uri}: {findings:#?}");
        }
        // These servers have loopback peers allowed, and it finds out.
        assert_eq!(severity(&findings, "inner-peers"), "error", "{uri}");
        assert!(text(&findings, "inner-peers").contains("127.0.0.1"), "{uri}");
        if uri.starts_with("turns") {
            assert_eq!(severity(&findings, "certificate-name"), "ok");
            assert!(text(&findings, "certificate-chain").contains("signed itself"), "{findings:#?}");
        }
    }
    let (_, findings) = probe(&["--name", "other.example.org", &format!("turns:{ip}")]);
    assert_eq!(severity(&findings, "certificate-name"), "error");
    assert!(text(&findings, "certificate-name").contains("turn.example.org"), "{findings:#?}");
}

#[test]
fn what_is_wrong_with_credentials_is_told() {
    let server =
        Server::start(&["--use-auth-secret", "--static-auth-secret=4f1c9a02e7d84b6f", "--lt-cred-mech"]);
    let uri = format!("turn:{}", server.address);
    let (finished, findings) = probe(&["--user", "hello", "--password", "wrong", &uri]);
    assert_eq!((finished.code, severity(&findings, "credentials")), (Some(2), "error"));
    assert!(text(&findings, "credentials").contains("the password or the name is wrong"), "{findings:#?}");
    let (_, findings) = probe(&["--user", "1700000000:alice", "--password", "x", &uri]);
    assert!(text(&findings, "credentials").contains("it expired"), "{findings:#?}");
    let directory = Directory::new();
    let secret = |text: &str| {
        let path = directory.write("secret", text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let (_, findings) = probe(&["--secret-file", &secret("another one\n"), &uri]);
    assert!(text(&findings, "credentials").contains("the secret is another"), "{findings:#?}");
    let (_, findings) = probe(&["--secret-file", &secret("4f1c9a02e7d84b6f\n"), &uri]);
    assert_eq!(severity(&findings, "credentials"), "ok");
    let (finished, findings) = probe(&[&uri]);
    assert_eq!((finished.code, severity(&findings, "challenge")), (Some(0), "ok"), "{findings:#?}");
}

#[test]
fn closed_ports_open_relays_and_strange_servers_are_told_apart() {
    let ip = loopback_address();
    let (finished, findings) = probe(&[&format!("turn:{ip}")]);
    assert_eq!(finished.code, Some(2));
    assert!(text(&findings, "reach").contains("nobody listens there"), "{findings:#?}");
    let (_, findings) = probe(&[&format!("turn:{ip}?transport=tcp")]);
    assert!(text(&findings, "reach").contains("nobody listens there"), "{findings:#?}");
    let (_, findings) = probe(&["turn:nowhere.invalid"]);
    assert_eq!(severity(&findings, "dns"), "error");

    let open = Program::start(TURNSERVER, &["-n", "--no-auth", "-m", "1", "-L", &ip.to_string()]);
    let mut open = open;
    open.expect("Total auth threads:");
    let (_, findings) = probe(&[&format!("turn:{ip}")]);
    assert_eq!(severity(&findings, "challenge"), "error");
    assert!(text(&findings, "challenge").contains("take no-auth out"), "{findings:#?}");
    // TLS where there is none.
    let (_, findings) = probe(&[&format!("turns:{ip}:3478")]);
    assert!(text(&findings, "reach").contains("TCP is there, TLS is not"), "{findings:#?}");

    let http = std::net::TcpListener::bind((ip, 8080)).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = http.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (_, findings) = probe(&[&format!("turn:{ip}:8080?transport=tcp")]);
    assert!(text(&findings, "reach").contains("something else, such as a web server"), "{findings:#?}");
    assert_eq!(run(TURNPIKE, &["probe", "turn:"]).code, Some(3));
}

#[test]
fn the_doctor_finds_what_was_put_wrong_and_tries_the_running_server() {
    let ip = loopback_address();
    let certificate = Certificate::new("turn.example.org");
    let other = Certificate::new("turn.example.org");
    let conf = certificate.directory.write(
        "turnserver.conf",
        &format!(
            "listening-ip={ip}\nrelay-threads=1\nrealm=turn.example.org\nuse-auth-secret\nstatic-auth-secret=north\n\
             allowed-peer-ip=0.0.0.0-255.255.255.255\nmin-port=50000\nmax-port=50009\nallow-loopback-peers\n\
             userdb={}\ncert={}\npkey={}\n",
            certificate.directory.file("turndb"),
            certificate.directory.file("cert.pem"),
            other.directory.file("pkey.pem")
        ),
    );
    let mut server = Program::start(TURNSERVER, &["-c", &conf]);
    let line = server.expect("Doctor: secrets: ");
    assert!(!line.contains("north") && line.contains("examples"), "{line}");
    server.expect("Total auth threads:");
    std::fs::set_permissions(&conf, std::fs::Permissions::from_mode(0o644)).unwrap();
    let finished = run(TURNPIKE, &["doctor", "--json", "-c", &conf]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(!finished.stdout.contains("north"), "a secret is shown");
    let found: Value = serde_json::from_str(&finished.stdout).expect(&finished.stdout);
    let findings = found["findings"].as_array().unwrap();
    for (id, severity, part) in [
        ("configuration", "ok", "turnserver.conf"),
        ("secrets", "error", "number 1"),
        ("secret-files", "warning", "0644"),
        ("peers", "error", "169.254.169.254"),
        ("relay-ports", "warning", "10 ports"),
        ("private-key", "error", "does not fit"),
        ("certificate-chain", "warning", "signed itself"),
        ("certificate-name", "ok", "turn.example.org"),
        ("limits", "note", "user-quota"),
        ("listeners", "note", "5349 is free"),
        ("database", "note", "knows neither users nor secrets"),
    ] {
        // Other tests' servers may give it more to say of the same.
        let says = |finding: &&Value| {
            let evidence = finding["evidence"].as_str().unwrap();
            finding["id"] == id && finding["severity"] == severity && evidence.contains(part)
        };
        assert!(findings.iter().any(|finding| says(&finding)), "{id}: {}", finished.stdout);
    }
    let tried: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["id"] == "self-test")
        .map(|finding| finding["evidence"].as_str().unwrap())
        .collect();
    assert!(tried.iter().any(|text| text.starts_with("credentials: accepted")), "{tried:#?}");
    assert!(tried.iter().any(|text| text.starts_with("echo: 10 messages")), "{tried:#?}");
    assert_eq!(server.stop("TERM").code, Some(0));
}

#[test]
fn a_sound_configuration_has_no_errors_and_one_that_would_not_start_is_told() {
    let ip = loopback_address().to_string();
    let secret = "--static-auth-secret=9b1deb4d3b7d4bad9bdd2b0d7b3dcb6d";
    let arguments = ["doctor", "--offline", "--quiet", "--", "-n", "-L", &ip, secret, "--realm", "r"];
    let finished = run(TURNPIKE, &arguments);
    assert!(!finished.stdout.lines().any(|line| line.starts_with("error")), "{}", finished.stdout);
    assert!(finished.stdout.contains("0 errors, "), "{}", finished.stdout);
    let finished =
        run(TURNPIKE, &["doctor", "--offline", "--", "-n", "-L", &ip, "--min-port=9", "--max-port=8"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stdout.contains("min-port 9 is above max-port 8"), "{}", finished.stdout);
    let finished = run(TURNPIKE, &["doctor", "--list"]);
    assert!(finished.stdout.lines().count() > 20 && finished.code == Some(0));
}

#[test]
fn firewall_lines_are_those_of_the_file() {
    let directory = Directory::new();
    let conf = directory.write("t.conf", "listening-port=3999\nmin-port=50100\nmax-port=50199\nno-tcp\n");
    let of = |format: &str| {
        let finished =
            run(TURNPIKE, &["firewall", "-c", &conf, "--format", format, "--from", "192.0.2.0/24"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.stdout
    };
    assert!(of("nft").contains("ip saddr 192.0.2.0/24 udp dport 3999 accept"), "{}", of("nft"));
    assert!(of("iptables").contains("iptables -I INPUT -s 192.0.2.0/24 -p udp --dport 3999"));
    assert!(of("ufw").contains("ufw allow proto udp from any to any port 50100:50199"));
    assert!(of("firewalld").contains("firewall-cmd --permanent --add-port=50100-50199/udp"));
    assert!(of("gcp").contains("--allow=udp:50100-50199"));
    assert!(of("azure").contains("--destination-port-ranges 50100-50199"));
    assert!(of("terraform").contains("from_port        = 50100"));
    let aws = of("aws");
    let permissions = aws.split('\'').nth(1).unwrap();
    let permissions: Value = serde_json::from_str(permissions).unwrap();
    assert_eq!((&permissions[0]["FromPort"], &permissions[0]["IpProtocol"]), (&3999.into(), &"udp".into()));
    assert_eq!(permissions[0]["IpRanges"][0]["CidrIp"], "192.0.2.0/24");
    assert!(!of("text").contains("TCP"), "{}", of("text"));
    let refused = run(TURNPIKE, &["firewall", "-c", &conf, "--from", "192.0.2.0/99"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("prefix"), "{}", refused.stderr);
    let behind = run(TURNPIKE, &["firewall", "--format", "text", "--", "-n", "-p", "443"]);
    assert!(behind.stdout.contains("443"), "{}{}", behind.stdout, behind.stderr);
}
