//! Third-party authorisation (RFC 7635): the server with keys in its configuration, `turnutils_uclient -J`, and
//! `turnutils_oauth`.

use crate::harness::{Finished, OAUTH, Server, TURNSERVER, UCLIENT, run};

/// The three keys that coturn's example databases hold and its client has built in.
const KEYS: [&str; 3] = [
    "--oauth-key=north:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK:A256GCM:0:0:crinna.org",
    "--oauth-key=union:MTIzNDU2Nzg5MDEyMzQ1Ngo=:A128GCM:0:0:north.gov",
    "--oauth-key=oldempire:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIK:A256GCM",
];

fn uclient(server: &Server, flags: &[&str]) -> Finished {
    let address = server.address.ip().to_string();
    run(UCLIENT, &[flags, &["-n", "3", "-z", "5", &address]].concat())
}

fn is_lossless(finished: &Finished) -> bool {
    finished.code == Some(0) && finished.stdout.contains("Total lost packets 0 (0.000000%)")
}

#[test]
fn bearers_of_tokens_relay_beside_users_with_passwords() {
    let mut server = Server::start(&[&["--oauth", "--server-name=turn.example.org"], &KEYS[..]].concat());
    let finished = uclient(&server, &["-J", "-y", "-m", "20", "-G"]);
    assert!(is_lossless(&finished), "{}", finished.stdout);
    let finished = uclient(&server, &["-J", "-t", "-y", "-m", "4", "-G"]);
    assert!(is_lossless(&finished), "{}", finished.stdout);
    assert!(is_lossless(&uclient(&server, &["-u", "hello", "-w", "world", "-y"])));
    for (kid, realm) in [("north", "crinna.org"), ("union", "north.gov"), ("oldempire", "example.org")] {
        let line = server.expect(&format!("realm <{realm}> user <{kid}>"));
        assert!(!line.contains("error 401"), "{line}");
    }
}

#[test]
fn a_server_that_accepts_no_tokens_is_shown_none() {
    let server = Server::start(&[]);
    assert!(is_lossless(&uclient(&server, &["-J", "-u", "hello", "-w", "world", "-y"])));
    let finished = uclient(&server, &["-J", "-y"]);
    assert_eq!(finished.code, Some(255), "{}", finished.stdout);
}

#[test]
fn tokens_sealed_with_other_keys_do_not_let_in_and_the_log_says_why() {
    let other = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=";
    let keys = ["north", "union", "oldempire"].map(|kid| format!("--oauth-key={kid}:{other}"));
    let mut server = Server::start(&[&keys[0], &keys[1], &keys[2]]);
    assert_eq!(uclient(&server, &["-J", "-y"]).code, Some(255));
    assert!(server.expect("credentials are incorrect").contains("reason: bad_token"));
    drop(server);
    let mut server = Server::start(&["--oauth-key", &format!("south:{other}")]);
    assert_eq!(uclient(&server, &["-J", "-y"]).code, Some(255));
    assert!(server.expect("credentials are incorrect").contains("reason: unknown_kid"));
}

#[test]
fn keys_alone_are_credentials_and_are_never_shown() {
    let check = |more: &[&str]| run(TURNSERVER, &[&["-n", "--check-config"], more].concat());
    let sound = check(&KEYS);
    assert_eq!(sound.code, Some(0), "{}{}", sound.stdout, sound.stderr);
    assert!(sound.stdout.contains("oauth-key = north:[redacted]"), "{}", sound.stdout);
    assert!(!sound.stdout.contains("MDEy") && !sound.stdout.contains("MTIz"), "{}", sound.stdout);
    for (arguments, code, why) in [
        (&["--oauth", "--user=a:b"][..], 1, "there is no oauth-key"),
        (&["--server-name=x", "--user=a:b"], 1, "no effect without oauth"),
        (&["--oauth=no", "--user=a:b", KEYS[0]], 1, "it is off, so oauth-key has no effect"),
        (&["--oauth"], 255, "oauth is set, but no oauth-key"),
        (&["--no-auth", KEYS[0]], 255, "no-auth contradicts"),
        (&["--oauth-key=north:AAAA"], 255, "has 3 bytes, and its cipher needs 32"),
    ] {
        let finished = check(arguments);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        let told = finished.stdout + &finished.stderr;
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
}

const SEALING: [&str; 14] = [
    "-i",
    "turn.example.org",
    "-j",
    "kid",
    "-k",
    "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK",
    "-l",
    "1700000000",
    "-m",
    "200000000",
    "-q",
    "117964800000000",
    "-r",
    "600",
];
const MAC_KEY: [&str; 2] = ["-p", "eHh4eHh4eHh4eHh4eHh4eHh4eHg="];

/// The access token in what the tool has printed.
fn token_in(finished: &Finished) -> String {
    let text = finished.stdout.split("\"access_token\":\"").nth(1).expect(&finished.stdout);
    text.split('"').next().expect("its end").to_owned()
}

#[test]
fn what_the_tool_has_sealed_it_opens_for_this_server_and_no_other() {
    for cipher in ["A256GCM", "A128GCM"] {
        let sealed = run(OAUTH, &[&SEALING[..], &MAC_KEY, &["-e", "-n", cipher]].concat());
        assert_eq!((sealed.code, sealed.stderr.as_str()), (Some(0), ""), "{}", sealed.stdout);
        for field in
            ["\"token_type\":\"pop\"", "\"expires_in\":600", "\"kid\":\"kid\"", "\"alg\":\"HMAC-SHA1\""]
        {
            assert!(sealed.stdout.contains(field), "{field} in {}", sealed.stdout);
        }
        let token = token_in(&sealed);
        let opened = run(OAUTH, &[&SEALING[..], &["-d", "-v", "-n", cipher, "-t", &token]].concat());
        assert_eq!(opened.code, Some(0), "{}", opened.stderr);
        assert!(opened.stdout.starts_with("-=Valid token!=-\n"), "{}", opened.stdout);
        for line in [
            "mac key: xxxxxxxxxxxxxxxxxxxx\n",
            "mac key length: 20\n",
            "unixtime: 1800000000 ",
            "lifetime: 600\n",
        ] {
            assert!(opened.stdout.contains(line), "{line} in {}", opened.stdout);
        }
        let quiet = run(OAUTH, &[&SEALING[..], &["-d", "-n", cipher, "-t", &token]].concat());
        assert_eq!(quiet.stdout, "-=Valid token!=-\n");
        let elsewhere =
            run(OAUTH, &[&SEALING[..], &["-d", "-n", cipher, "-t", &token, "-i", "other"]].concat());
        assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (Some(255), ""));
        assert!(elsewhere.stderr.contains("cannot open the token"), "{}", elsewhere.stderr);
    }
}

#[test]
fn the_tools_exit_statuses_are_coturns() {
    for (arguments, code) in
        [(&["-h"][..], 1), (&["-x"], 1), (&[], 255), (&["-e"], 255), (&["-d", "-i", "name"], 255)]
    {
        let finished = run(OAUTH, arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{arguments:?}");
        assert!(!finished.stderr.is_empty());
    }
}
