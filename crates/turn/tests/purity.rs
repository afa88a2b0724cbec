//! `wire`, `turn` and `client` decide and do nothing else: they import no clock, no socket, no file, no thread and no
//! randomness, so that a simulation can be all of these. Checked on their sources, tests left out.

use std::path::{Path, PathBuf};

const PURE_CRATES: [&str; 3] = ["wire", "turn", "client"];

/// What pure code has no business with, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("Instant", "time comes in as a `Now`"),
    ("SystemTime", "time comes in as a `Now`"),
    ("UNIX_EPOCH", "time comes in as a `Now`"),
    ("UdpSocket", "bytes leave by return value"),
    ("TcpStream", "bytes leave by return value"),
    ("TcpListener", "bytes leave by return value"),
    ("UnixStream", "bytes leave by return value"),
    ("UnixDatagram", "bytes leave by return value"),
    ("ToSocketAddrs", "names are looked up by others"),
    ("std::io", "what needs a syscall is an effect"),
    ("std::fs", "what needs a syscall is an effect"),
    ("std::env", "what is configured comes in with `Init`"),
    ("std::os", "what needs a syscall is an effect"),
    ("std::process", "what needs a syscall is an effect"),
    ("std::thread", "a server belongs to one thread and knows none"),
    ("thread_local!", "a server belongs to one thread and knows none"),
    ("static mut", "all state is in the server"),
    ("getrandom", "all randomness comes from the seed"),
    ("rand::", "all randomness comes from the seed"),
    ("RandomState", "hash tables are seeded from the seed, or their order never shows"),
    ("println!", "what people see is an event"),
    ("eprintln!", "what people see is an event"),
    ("libc", "what needs a syscall is an effect"),
    ("async fn", "nothing waits in here"),
];

/// Packages that are clocks, sockets, randomness or run-times.
const FORBIDDEN_PACKAGES: &[&str] = &[
    "getrandom",
    "rand",
    "rand_core",
    "fastrand",
    "libc",
    "rustix",
    "socket2",
    "mio",
    "tokio",
    "jiff",
    "chrono",
    "log",
    "tracing",
];

#[test]
fn pure_crates_import_no_clock_socket_thread_or_randomness() {
    let mut found = Vec::new();
    let mut looked_at = 0;
    for file in PURE_CRATES.iter().flat_map(|name| sources(&crate_folder(name).join("src"))) {
        let source = std::fs::read_to_string(&file).expect("a source file can be read");
        found.extend(
            impurities(&source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.display())),
        );
        looked_at += 1;
    }
    assert!(looked_at > 40, "the sources are where they were: {looked_at} files");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn pure_crates_depend_on_no_clock_socket_or_randomness() {
    for name in PURE_CRATES {
        let manifest = std::fs::read_to_string(crate_folder(name).join("Cargo.toml")).expect("a manifest");
        let section = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]"));
        let packages =
            section.expect("dependencies").lines().filter_map(|line| line.split(['.', ' ', '=']).next());
        for package in packages.filter(|package| !package.is_empty()) {
            assert!(!FORBIDDEN_PACKAGES.contains(&package), "{name} depends on {package}");
        }
    }
}

#[test]
fn the_check_sees_code_and_neither_comments_nor_tests() {
    let source = "//! No Instant here.\nuse std::net::IpAddr; // std::fs\nlet now = Instant::now();\nlet instants = 1;\n\
                  fn f() { std::thread::spawn(g); }\n#[cfg(test)]\nmod tests { use std::fs; }\n";
    let lines: Vec<usize> = impurities(source).iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 5]);
}

/// Lines of code that hold something forbidden, with what and why. Tests stand at the end of a file.
fn impurities(source: &str) -> Vec<(usize, String)> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default();
        for (word, why) in FORBIDDEN.iter().filter(|(word, _)| has_word(line, word)) {
            found.push((index + 1, format!("{word}: {why}")));
        }
    }
    found
}

/// Whether `word` stands in `line` and is no part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && (!after.is_some_and(is_name) || word.ends_with("::"))
    })
}

fn crate_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// All source files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
