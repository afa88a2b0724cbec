//! `turnserver --check-config`: whether a configuration is sound, without starting anything.

use crate::harness::{Directory, Finished, TURNSERVER, run};

fn check(text: &str) -> (String, Finished) {
    let directory = Directory::new();
    let file = directory.write("turnserver.conf", text);
    let finished = run(TURNSERVER, &["-c", &file, "--check-config"]);
    (file, finished)
}

#[test]
fn a_sound_file_is_told_with_where_each_value_comes_from_and_no_secret() {
    let (file, finished) =
        check("realm=example.org # ours\nuser=hello:hunter2\nstatic-auth-secret=hunter2\n");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains(&format!("realm = example.org  ({file}:1)")), "{}", finished.stdout);
    assert!(finished.stdout.ends_with("the configuration is sound\n"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("hunter2"), "{}", finished.stdout);
}

#[test]
fn a_file_with_something_to_mend_exits_with_1() {
    let (file, finished) = check("no-auth\nrelm=x\n");
    assert_eq!(finished.code, Some(1));
    let wanted = format!("warning: {file}:2: unknown option \"relm\" was left out; did you mean realm?");
    assert!(finished.stdout.contains(&wanted), "{}", finished.stdout);
}

#[test]
fn a_file_that_cannot_be_used_exits_with_255() {
    let (file, finished) = check("no-auth\nlistening-port=none\n");
    assert_eq!(finished.code, Some(255));
    assert!(finished.stderr.contains(&format!("{file}:2: listening-port")), "{}", finished.stderr);
}

#[test]
fn the_sample_file_is_accepted_as_it_is() {
    let sample = run(TURNSERVER, &["--sample-config"]);
    assert_eq!(sample.code, Some(0));
    let (_, finished) = check(&format!("{}\nno-auth\n", sample.stdout));
    assert_eq!(finished.code, Some(1), "only the warning about no-auth: {}", finished.stdout);
    assert_eq!(finished.stdout.matches("warning:").count(), 1, "{}", finished.stdout);
}
