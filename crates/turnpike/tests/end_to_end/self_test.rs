//! `turnutils_rfc5769check`.

use crate::harness::{RFC5769CHECK, run};

#[test]
fn every_published_message_is_named_with_its_success() {
    let finished = run(RFC5769CHECK, &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{}", finished.stdout);
    assert!(lines.iter().all(|line| line.ends_with(" result: success")), "{}", finished.stdout);
    for what in [
        "IPv4 response",
        "IPv6 response",
        "short-term",
        "long-term",
        "SHA256",
        "oauth token A256GCM:OK",
        "oauth token A128GCM:OK",
    ] {
        assert!(finished.stdout.contains(what), "{what}");
    }
}

#[test]
fn arguments_are_refused() {
    let finished = run(RFC5769CHECK, &["-q"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("takes no arguments"), "{}", finished.stderr);
}
