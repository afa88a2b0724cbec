//! Ways to serve clients that have to be asked for: what they need, and what they warn of.

use turnpike_config::{ControlSocket, Notice, Severity};

use crate::world::{refusal, run};

#[test]
fn mobility_without_credentials_is_said_to_be_for_nobody() {
    let loaded = run("-n --no-auth --mobility").unwrap();
    assert!(loaded.config.mobility);
    let told = |notice: &Notice| notice.text.contains("nobody gets a mobility ticket");
    assert_eq!(loaded.notices.iter().filter(|notice| told(notice)).count(), 1);
    assert!(!run("-n --user a:b").unwrap().config.mobility, "off unless asked for");
    let loaded = run("-n --user a:b --mobility").unwrap();
    assert!(loaded.config.mobility && !loaded.notices.iter().any(told));
}

#[test]
fn discovery_needs_two_addresses_of_a_family_and_a_port_of_its_own() {
    let two = "-n --no-auth --rfc5780 -L 192.0.2.1 -L 192.0.2.2";
    for (line, port) in [
        (two.to_owned(), 3479),
        (format!("{two} --alt-listening-port=0 -p 3000"), 3001),
        (format!("{two} --alt-listening-port=3500"), 3500),
        (format!("{two} -p 65535 --max-port 60000"), 65_534),
        (format!("{two} --external-ip 203.0.113.1/192.0.2.1"), 3479),
        ("-n --no-auth --rfc5780 -L ::1 -L 2001:db8::1 -L 192.0.2.1".to_owned(), 3479),
        ("-n --no-auth --rfc5780".to_owned(), 3479),
    ] {
        let loaded = run(&line).unwrap();
        assert!(
            loaded.config.rfc5780 && !loaded.notices.iter().any(|notice| notice.origin == "rfc5780"),
            "{line}"
        );
        assert_eq!(loaded.config.second_port(), port, "{line}");
    }
    for (line, why) in [
        ("-n --no-auth --rfc5780 -L 192.0.2.1".to_owned(), "two listening-ip"),
        ("-n --no-auth --rfc5780 -L 192.0.2.1 -L ::1".to_owned(), "two listening-ip"),
        ("-n --no-auth --rfc5780 -L 192.0.2.1 -L 0.0.0.0".to_owned(), "two listening-ip"),
        (format!("{two} --external-ip 203.0.113.1"), "PUBLIC/PRIVATE"),
        (format!("{two} --alt-listening-port=3478"), "alt-listening-port"),
        (format!("{two} --alt-listening-port=50000"), "relay ports"),
        (format!("{two} --no-stun"), "no-stun"),
    ] {
        let loaded = run(&line).unwrap();
        assert!(!loaded.config.rfc5780, "{line}");
        let notice = loaded.notices.iter().find(|notice| notice.origin == "rfc5780").expect(&line);
        assert!(notice.severity == Severity::Warning && notice.text.contains(why), "{}", notice.text);
    }
    let loaded = run("-n --no-auth --alt-listening-port=3500").unwrap();
    assert!(loaded.notices.iter().any(|notice| notice.origin == "alt-listening-port"));
}

#[test]
fn modes_that_are_dangerous_or_have_nothing_to_work_on_are_warned_of() {
    for (line, origin, why) in [
        ("--server-relay", "server-relay", "WITHOUT PERMISSIONS"),
        ("--rfc3489-compatibility --no-stun", "rfc3489-compatibility", "no-stun"),
        ("--rfc3489-compatibility --secure-stun", "rfc3489-compatibility", "secure-stun"),
        ("--rfc3489-compatibility --no-udp", "rfc3489-compatibility", "no-udp"),
        ("--pkey-pwd=x", "pkey-pwd", "without pkey"),
        ("--alt-tls-listening-port=5350", "alt-tls-listening-port", "without rfc5780"),
        ("--server-name=x", "server-name", "without oauth"),
        ("--oauth", "oauth", "no oauth-key"),
        ("--multiplex-peer-port=4000", "multiplex-peer-port", "without multiplex-peer"),
        ("--multiplex-peer-max-peers=4", "multiplex-peer-max-peers", "without multiplex-peer"),
        ("--multiplex-peer --server-relay", "server-relay", "no effect with multiplex-peer"),
    ] {
        let loaded = run(&format!("-n --user=a:b {line}")).unwrap();
        let notice =
            loaded.notices.iter().find(|notice| notice.origin == origin && notice.text.contains(why));
        assert!(
            notice.is_some_and(|notice| notice.severity == Severity::Warning),
            "{line}: {:?}",
            loaded.notices
        );
    }
    let quiet = run("-n --stun-only --server-relay --rfc3489-compatibility").unwrap();
    assert!(!quiet.notices.iter().any(|notice| notice.severity == Severity::Warning), "{:?}", quiet.notices);
    let one_port =
        "-n --user=a:b --rfc5780 -L 192.0.2.1 -L 192.0.2.2 --cert=c --pkey=k --alt-tls-listening-port=5349";
    let loaded = run(one_port).unwrap();
    let notice = loaded.notices.iter().find(|notice| notice.origin == "rfc5780").unwrap();
    assert!(!loaded.config.rfc5780 && notice.text.contains("alt-tls-listening-port"), "{notice:?}");
}

#[test]
fn dtls_is_off_unless_it_is_asked_for_in_the_new_or_the_old_way() {
    let of = |words: &str| {
        let loaded = run(&format!("-n --no-auth --cert=c --pkey=k {words}")).unwrap();
        (loaded.config.serves_dtls(), loaded.notices.iter().any(|notice| notice.text.contains("deprecated")))
    };
    assert_eq!(of(""), (false, false));
    assert_eq!(of("--dtls"), (true, false));
    assert_eq!(of("--dtls=false"), (false, false));
    assert_eq!(of("--no-dtls"), (false, true));
    assert_eq!(of("--no-dtls=false"), (true, true));
    assert!(!run("-n --no-auth --dtls").unwrap().config.serves_dtls(), "no certificate");
}

#[test]
fn servers_that_clients_are_sent_to_add_up_and_what_cannot_be_an_address_is_refused() {
    let loaded = run("-n --no-auth --alternate-server=203.0.113.7 --alternate-server=[2001:db8::7]:99 \
         --alternate-server=203.0.113.7:3478 --tls-alternate-server=203.0.113.7");
    let lists = loaded.unwrap().config.balancing.alternate_servers;
    let any: Vec<String> = lists.any.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(any, ["203.0.113.7:3478", "[2001:db8::7]:99"], "the same twice counts once");
    assert_eq!(lists.tls[0].address.to_string(), "203.0.113.7:5349");
    assert!(lists.udp.is_empty() && lists.tcp.is_empty());
    for wrong in ["203.0.113", "0.0.0.0", "203.0.113.7:0", "[::1"] {
        assert!(
            refusal(&format!("-n --no-auth --udp-alternate-server={wrong}")).contains("udp-alternate-server")
        );
    }
    assert!(refusal("-n --no-auth --aux-server=127.0.0.1").contains("has no port"));
    assert!(refusal("-n --no-auth --aux-server=0.0.0.0:3480").contains("one of this machine's addresses"));
}

#[test]
fn what_auxiliary_listeners_and_proxies_lack_is_said() {
    let said = |line: &str, origin: &str| {
        let notices = run(line).unwrap().notices;
        let found = notices.into_iter().find(|notice| notice.origin == origin);
        found.map(|notice| (notice.severity, notice.text))
    };
    let (severity, text) = said("-n --no-auth --udp-self-balance", "udp-self-balance").unwrap();
    assert!(severity == Severity::Warning && text.contains("without aux-server"), "{text}");
    let (severity, text) = said("-n --no-auth --aux-server=127.0.0.1:50000", "aux-server").unwrap();
    assert!(severity == Severity::Warning && text.contains("one of the relay ports"), "{text}");
    let balanced = "-n --no-auth --udp-self-balance --aux-server=127.0.0.1:3480";
    assert!(said(balanced, "udp-self-balance").or(said(balanced, "aux-server")).is_none());
    let (severity, text) = said("-n --no-auth --tcp-proxy-port=8080", "tcp-proxy-port").unwrap();
    assert!(severity == Severity::Info && text.contains("name the load balancers with proxy-from"), "{text}");
    assert!(said("-n --no-auth --tcp-proxy-port=8080 --proxy-from=10.0.0.2", "tcp-proxy-port").is_none());
    assert!(refusal("-n --no-auth --proxy-from=10.0.0.2/33").contains("proxy-from"));
}

#[test]
fn the_telnet_console_is_off_and_cannot_be_had_without_a_password() {
    let console = |line: &str| {
        let loaded = run(&format!("-n --user a:b {line}")).unwrap();
        let told: Vec<String> =
            loaded.notices.into_iter().filter(|it| it.origin == "cli").map(|it| it.text).collect();
        (loaded.config.administration.console, told.join("; "))
    };
    let (off, told) = console("--cli-password=x");
    assert!(!off.on && told.is_empty() && off.ip.is_loopback());
    assert_eq!((off.port, off.most_sessions), (5766, 256));
    let hash = "$5$2f482a58cf39c2dd$a137b16e8ea39443756c1b3c8a75fd46e18f062650355892ad48388ce5a0bbba";
    for line in ["--cli --cli-password=x".to_owned(), format!("--cli --cli-password={hash}")] {
        let (on, told) = console(&line);
        assert!(on.on && told.is_empty(), "{line}: {told}");
    }
    for (line, why) in [
        ("--cli", "without cli-password"),
        ("--cli --cli-password=", "without cli-password"),
        ("--cli --allow-loopback-peers", "without cli-password"),
        ("--cli --cli-password=$5$00$00", "begins like a hash"),
    ] {
        let (refused, told) = console(line);
        assert!(!refused.on && told.contains(why), "{line}: {told}");
    }
    let (abroad, told) = console("--cli --cli-password=x --cli-ip=192.0.2.1");
    assert!(abroad.on && told.contains("not encrypted"), "{told}");
}

#[test]
fn how_a_server_is_looked_after_and_ends_is_read() {
    let administration = |line: &str| run(&format!("-n --user a:b {line}")).unwrap().config.administration;
    let usual = administration("");
    assert_eq!(usual.control_socket, ControlSocket::Usual);
    assert_eq!((usual.drain.timeout.as_secs(), usual.drain.least_allocations), (0, 0));
    for word in ["off", "none"] {
        assert_eq!(administration(&format!("--control-socket={word}")).control_socket, ControlSocket::Off);
    }
    let set = administration(
        "--control-socket=/x/y.sock --drain-timeout=3600 --drain-min-allocations=5 \
         --drain-alternate-server=203.0.113.7 --drain-alternate-server=[2001:db8::7]:99",
    );
    assert_eq!(set.control_socket, ControlSocket::At("/x/y.sock".into()));
    assert_eq!((set.drain.timeout.as_secs(), set.drain.least_allocations), (3600, 5));
    let servers: Vec<String> = set.drain.alternate_servers.iter().map(|it| it.address.to_string()).collect();
    assert_eq!(servers, ["203.0.113.7:3478", "[2001:db8::7]:99"]);
    assert!(refusal("-n --user a:b --drain-timeout=-1").contains("number of seconds"));
    assert!(refusal("-n --user a:b --drain-alternate-server=1.2.3").contains("drain-alternate-server"));
}
