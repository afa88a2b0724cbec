//! `turnpike credentials`, `explain` and `completions`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use turnpike::rest::RestCredential;

use crate::client::{TurnClient, unix_now};
use crate::harness::{Directory, Finished, Program, Server, TURNPIKE, run};

/// A directory with a file that holds the secret `north`.
fn secret() -> (Directory, String) {
    let directory = Directory::new();
    let file = directory.write("secret", "north\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    (directory, file)
}

fn credentials(arguments: &[&str]) -> Finished {
    let mut all = vec!["credentials"];
    all.extend(arguments);
    run(TURNPIKE, &all)
}

fn decode(username: &str, password: &str) -> Finished {
    let (_directory, file) = secret();
    credentials(&["decode", "--secret-file", &file, username, password])
}

#[test]
fn a_minted_credential_lets_its_user_in() {
    let (_directory, file) = secret();
    let server = Server::start(&["--static-auth-secret=north"]);
    for verb in [&[][..], &["mint"]] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--secret-file", &file, "--user", "alice", "--ttl", "90s"]);
        let minted = credentials(&arguments);
        assert_eq!(minted.code, Some(0), "{}", minted.stderr);
        let line = |at: usize, label: &str| {
            let line = minted.stdout.lines().nth(at).unwrap();
            line.strip_prefix(label).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (username, password) = (line(0, "username"), line(1, "password"));
        assert!(line(2, "expires").ends_with("(in 1 min 30 s)"), "{}", minted.stdout);
        let (expiry, user) = username.split_once(':').unwrap();
        assert!(user == "alice" && (80..=90).contains(&(expiry.parse::<u64>().unwrap() - unix_now())));
        TurnClient::new(server.address, &username, &password).allocate();
    }
}

#[test]
fn json_is_what_a_browser_takes() {
    let (_directory, file) = secret();
    let minted = credentials(&["--json", "--secret-file", &file, "--uri", "turn:turn.example.org:3478"]);
    let found: Value = serde_json::from_str(&minted.stdout).unwrap();
    assert_eq!(found["iceServers"][0]["urls"][0], "turn:turn.example.org:3478");
    assert!(found["iceServers"][0]["username"].as_str().unwrap().ends_with(":demo"));
    assert!(found["expiresAt"].is_string());
    let decoded = credentials(&["decode", "--json", "1500000000:alice"]);
    assert_eq!(decoded.code, Some(1));
    let found: Value = serde_json::from_str(&decoded.stdout).unwrap();
    assert_eq!((&found["works"], &found["findings"][0]["fatal"]), (&false.into(), &true.into()));
}

#[test]
fn the_secret_of_turnpike_up_is_found_without_being_named() {
    let directory = Directory::new();
    std::fs::create_dir(directory.path().join("turnpike")).unwrap();
    let file = directory.write("turnpike/secret", "north\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let home = directory.path().to_str().unwrap().to_owned();
    let variables = [("XDG_STATE_HOME", home.as_str())];
    let minted = Program::start_in(TURNPIKE, &["credentials"], directory.path(), &variables).finish();
    assert_eq!(minted.code, Some(0), "{}", minted.stderr);
    let empty = Directory::new();
    let home = empty.path().to_str().unwrap().to_owned();
    let variables = [("XDG_STATE_HOME", home.as_str())];
    let refused = Program::start_in(TURNPIKE, &["credentials"], empty.path(), &variables).finish();
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("run `turnpike up` once, or give --secret-file"), "{}", refused.stderr);
}

#[test]
fn decode_finds_nothing_wrong_with_a_good_credential() {
    let good = RestCredential::mint("north", "alice", ':', unix_now(), Duration::from_secs(7200));
    let finished = decode(&good.username, &good.password);
    assert_eq!(finished.code, Some(0), "{}", finished.stdout);
    assert!(
        finished.stdout.contains("ok:      it is good for another 1 h 59 min")
            || finished.stdout.contains("2 h")
    );
    assert!(finished.stdout.contains("ok:      the password fits the secret"), "{}", finished.stdout);
}

#[test]
fn decode_explains_each_failure() {
    let mint = |secret: &str, ago: u64| {
        let now = unix_now() - ago;
        RestCredential::mint(secret, "alice", ':', now, Duration::from_secs(3600))
    };
    let good = mint("north", 0);
    for (username, password, said) in [
        (mint("north", 7200).username, mint("north", 7200).password, "it expired 1 h 0 min ago"),
        (good.username.clone(), mint("south", 0).password, "fits none of the secrets"),
        (good.username.clone(), good.password.trim_end_matches('=').to_owned(), "lacks its base64 padding"),
        (good.username.clone(), format!("{}\n", good.password), "blanks or a line end around it"),
        (good.username.clone(), mint("north\n", 0).password, "a line end behind the secret"),
        ("alice".to_owned(), good.password.clone(), "it holds no expiry time"),
        (good.username.replace(':', "|"), good.password.clone(), "--rest-api-separator=|"),
        (format!("{}000:a", unix_now()), good.password.clone(), "looks like milliseconds"),
    ] {
        let finished = decode(&username, &password);
        assert_eq!(finished.code, Some(1), "{said}");
        let fatal = finished.stdout.lines().any(|line| line.starts_with("refused:") && line.contains(said));
        assert!(fatal, "{said} in:\n{}", finished.stdout);
    }
}

#[test]
fn bad_arguments_are_answered_with_what_is_wrong() {
    let (_directory, file) = secret();
    for (arguments, code, said) in [
        (&["--ttl", "x"][..], 1, "\"x\" is no unit of time"),
        (&["--ttl", "0"], 1, "out of range: 1 second to 10 years"),
        (&["--separator", "ab"], 1, "--separator takes one character"),
        (&["--nonsense"], 2, "unexpected argument '--nonsense'"),
        (&["decode"], 2, "<username>"),
    ] {
        let mut all = vec!["--secret-file", &file];
        all.extend(arguments);
        if arguments[0] == "decode" {
            all = arguments.to_vec();
        }
        let finished = credentials(&all);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{arguments:?}: {}", finished.stderr);
    }
    let missing = credentials(&["--secret-file", "/nowhere/secret"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("cannot read /nowhere/secret"), "{}", missing.stderr);
}

#[test]
fn every_reason_of_the_log_is_explained() {
    let all = run(TURNPIKE, &["explain"]);
    assert_eq!(all.code, Some(0));
    for reason in turnpike_turn::Reason::ALL {
        let line = all.stdout.lines().find(|line| line.split_whitespace().next() == Some(reason.code()));
        assert!(line.is_some_and(|line| line.len() > 40), "{}", reason.code());
    }
    let one = run(TURNPIKE, &["explain", "stale_nonce"]);
    assert_eq!(one.code, Some(0));
    assert!(one.stdout.starts_with("stale_nonce: "), "{}", one.stdout);
    let none = run(TURNPIKE, &["explain", "stale-nonse"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("did you mean stale_nonce?"), "{}", none.stderr);
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    for (shell, mark) in
        [("bash", "complete -F _turnpike"), ("zsh", "#compdef turnpike"), ("fish", "complete -c turnpike")]
    {
        let finished = run(TURNPIKE, &["completions", shell]);
        assert_eq!(finished.code, Some(0));
        assert!(finished.stdout.contains(mark), "{shell}");
        assert!(finished.stdout.contains("allowed-peer-ip") && finished.stdout.contains("decode"), "{shell}");
    }
    let unknown = run(TURNPIKE, &["completions", "klingon"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("bash") && unknown.stderr.contains("zsh"), "{}", unknown.stderr);
}
