//! A configuration that is read again: what differs, what is taken up, and what changes nothing.

use turnpike_config::{Loaded, LogLevel, reload};

use super::world::{World, run_in};

const FILE: &str = "/etc/turnserver.conf";

/// Starts with one file and a command line, and reads another in its place.
fn reloaded(before: &str, after: &str) -> Result<(Loaded, Vec<String>), String> {
    let world = World::with(FILE, before);
    let running = run_in(&world, "--total-quota 7").unwrap_or_else(|problem| panic!("{problem}"));
    let world = World::with(FILE, after);
    let reloaded = reload(&running, &world).map_err(|error| error.to_string())?;
    Ok((reloaded.loaded, reloaded.differences.iter().map(ToString::to_string).collect()))
}

#[track_caller]
fn assert_differences(before: &str, after: &str, wanted: &[&str]) {
    let (_, differences) = reloaded(before, after).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(differences, wanted);
}

#[test]
fn what_is_the_same_makes_no_difference_however_it_is_written() {
    assert_differences(
        "user=a:b\nverbose\nfingerprint=no\nlog-min-level=info\n",
        "# moved\nlog-min-level  info\n verbose = yes # so\nuser=\"a:b\"\nno-tls=false",
        &[],
    );
}

#[test]
fn differences_are_in_the_order_of_the_help_text_and_say_what_was_and_what_is() {
    assert_differences(
        "user=a:b\nuser-quota=3\ndenied-peer-ip=10.0.0.0/8\n",
        "user=a:b\nmin-port=50000\ndenied-peer-ip=192.0.2.0/24\nuser-quota=4\nlog-min-level=error\nverbose\n",
        &[
            "min-port: (default) -> 50000 (needs a restart)",
            "user-quota: 3 -> 4",
            "denied-peer-ip: 192.0.2.0/24 added; 10.0.0.0/8 removed",
            "verbose: (default) -> yes",
            "log-min-level: (default) -> error",
        ],
    );
}

#[test]
fn users_are_told_by_name_and_secrets_not_at_all() {
    assert_differences(
        "user=alice:one\nuser=bob:two\nuser=carol:three\nuse-auth-secret\nstatic-auth-secret=old-secret\n",
        "user=carol:3\nuser=alice:one\nuser=dave:four\nuse-auth-secret\nstatic-auth-secret=new-secret\nstatic-auth-secret=old-secret\n",
        &[
            "user: dave added; bob removed; carol (changed)",
            "static-auth-secret: (changed): 1 added, 0 removed",
        ],
    );
    assert_differences(
        "user=a:b\nstateless-nonce-secret=one\n",
        "user=a:b\nstateless-nonce-secret=two\n",
        &["stateless-nonce-secret: (changed) (needs a restart)"],
    );
    assert_differences("user=a:b\nuser=c:d\n", "user=c:d\nuser=a:b\n", &["user: the same in another order"]);
}

#[test]
fn what_needs_a_restart_stays_while_the_rest_is_taken_up() {
    let (loaded, differences) =
        reloaded("user=a:b\nmax-port=60000\n", "user=c:d\nmax-port=61000\nlog-min-level=error\n").unwrap();
    assert_eq!(loaded.config.max_port, 60_000);
    assert_eq!((loaded.config.users[0].name.as_str(), loaded.config.log.min_level), ("c", LogLevel::Error));
    assert_eq!(loaded.config.total_quota, 7, "the command line holds as before");
    // It is told again with each reload, until somebody restarts the server or takes it back.
    let world = World::with(FILE, "user=c:d\nmax-port=61000\nlog-min-level=error\n");
    let again = reload(&loaded, &world).unwrap();
    let again: Vec<String> = again.differences.iter().map(ToString::to_string).collect();
    assert_eq!(again, &differences[..1], "{differences:?}");
    assert_eq!(again, ["max-port: 60000 -> 61000 (needs a restart)"]);
}

#[test]
fn a_file_that_no_server_would_start_with_is_refused_with_all_that_is_wrong() {
    let problem =
        reloaded("user=a:b\n", "user=a:b\nuser-quota=many\n\nallowed-peer-ip=10.0.0.0/99\n").unwrap_err();
    assert!(problem.contains("/etc/turnserver.conf:2: user-quota: \"many\" is not"), "{problem}");
    assert!(
        problem.contains("/etc/turnserver.conf:4: allowed-peer-ip: /99 is no prefix length"),
        "{problem}"
    );
    let problem = reloaded("user=a:b\n", "realm=x\n").unwrap_err();
    assert!(problem.contains("nobody could use this server"), "{problem}");
}

#[test]
fn a_line_that_was_probably_meant_otherwise_is_refused_unless_it_was_there_before() {
    for (line, wanted) in [
        (
            "user-qouta=3",
            "/etc/turnserver.conf:2: unknown option \"user-qouta\" was left out; did you mean user-quota?",
        ),
        ("realm=\u{201C}example.org\u{201D}", "/etc/turnserver.conf:2: the typographic quotes"),
        ("realm='example.org'", "/etc/turnserver.conf:2: the single quotes"),
        ("user-quota 3;", "/etc/turnserver.conf:2: the `;` at the end"),
    ] {
        let problem = reloaded("user=a:b\n", &format!("user=a:b\n{line}\n")).unwrap_err();
        assert!(problem.contains(wanted), "{problem}");
        let before = format!("{line}\nuser=a:b\n");
        let (loaded, _) = reloaded(&before, &format!("user=a:b\nuser=c:d\n{line}\n")).unwrap();
        assert_eq!(loaded.config.users.len(), 2, "{line}");
    }
}

#[test]
fn contradictions_with_what_stays_are_refused_and_say_why() {
    // Alone each file is sound; the relay ports stay, and the new bounds would cross them.
    let problem = reloaded("user=a:b\nno-tcp\n", "user=a:b\nno-udp-relay\n").unwrap_err();
    assert!(problem.contains("restart the server to take up all of it"), "{problem}");
}

#[test]
fn no_secret_of_any_option_is_in_a_difference() {
    for option in turnpike_config::options::all() {
        use turnpike_config::options::Secrecy;
        let value = match option.secrecy {
            Secrecy::Public => continue,
            Secrecy::AfterColon if option.name() == "oauth-key" => {
                "kid:c2VjcmV0LXZhbHVlLXNlY3JldC12YWx1ZS1zZWNyZXQ="
            }
            Secrecy::AfterColon => "name:secret-value",
            Secrecy::Secret => "secret-value",
        };
        let file = format!("user=a:b\n{}={value}\n", option.name());
        let Ok((_, differences)) = reloaded("user=a:b\n", &file) else { continue };
        assert!(!differences.concat().contains("secret-value"), "{differences:?}");
        assert!(!differences.concat().contains("c2Vj"), "{differences:?}");
    }
}
