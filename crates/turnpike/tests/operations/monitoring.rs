//! The real Prometheus scrapes the real server, and everything in `deploy/` that names metrics is held against both.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::TurnClient;
use crate::harness::{Directory, PATIENCE, Program, free_ports};
use crate::http::get;
use crate::metrics::Scraped;

/// Prometheus with the rules of `deploy/`, scraping one server each second.
struct Prometheus {
    _program: Program,
    _directory: Directory,
    address: SocketAddr,
}

impl Prometheus {
    fn start(scraped: &Scraped) -> Self {
        let directory = Directory::new();
        let ip = scraped.metrics.ip();
        let address = SocketAddr::new(ip, free_ports(ip, 1));
        for rules in ["recording.rules.yml", "alerts.rules.yml"] {
            std::fs::copy(deploy("prometheus").join(rules), directory.path().join(rules)).unwrap();
        }
        let shipped = std::fs::read_to_string(deploy("prometheus/prometheus.yml")).unwrap();
        let config = shipped.replace("15s", "1s").replace("turnpike:9641", &scraped.metrics.to_string());
        assert!(config.contains(&scraped.metrics.to_string()), "the shipped file has the target we replace");
        let config = directory.write("prometheus.yml", &config);
        let (data, listen) = (directory.file("data"), format!("--web.listen-address={address}"));
        let mut program = Program::start(
            "prometheus",
            &["--config.file", &config, "--storage.tsdb.path", &data, &listen, "--log.level=info"],
        );
        program.expect("Server is ready to receive web requests");
        Prometheus { _program: program, _directory: directory, address }
    }

    /// What a query finds now.
    fn query(&self, expression: &str) -> Value {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let page = get(self.address, &format!("/api/v1/query?query={encoded}"));
        let answer: Value = serde_json::from_str(&unchunked(&page.head, &page.body)).expect("JSON");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].clone()
    }

    /// The first value that a query finds, once it is this.
    fn until(&self, expression: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.query(expression);
            if found[0]["value"][1] == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{expression} is {found}, not {wanted}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn prometheus_scrapes_the_server_and_understands_every_rule_and_panel() {
    if !is_installed("prometheus") {
        return;
    }
    let scraped = Scraped::start(&[]);
    let prometheus = Prometheus::start(&scraped);
    let mut client = TurnClient::hello(scraped.server.address);
    client.allocate();
    assert_eq!(get(scraped.metrics, "/healthz").status, 200);
    prometheus.until("up{job=\"turnpike\"}", "1");
    prometheus.until("sum(turnpike_allocations)", "1");
    prometheus.until("turn_total_allocations{type=\"UDP\"}", "1");
    prometheus.until("turnpike_self_test_success", "1");
    prometheus.until("turnpike:allocations", "1");
    // As a counter, whichever format was spoken.
    prometheus.until("min(turnpike_responses_total{method=\"allocate\",code=\"success\"}) >= bool 1", "1");
    let page = get(prometheus.address, "/api/v1/rules");
    let rules: Value = serde_json::from_str(&unchunked(&page.head, &page.body)).unwrap();
    let groups = rules["data"]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 20);
    for rule in rules {
        assert_eq!(rule["lastError"], Value::Null, "{rule}");
        assert_ne!(rule["state"], "firing", "nothing is wrong: {rule}");
    }
    for (panel, expression) in panels() {
        let known =
            expression.replace("$instance", ".*").replace("$__rate_interval", "1m").replace("$__range", "1h");
        assert!(!known.contains('$'), "{panel}: {known}");
        prometheus.query(&known);
    }
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics_the_rules_and_the_configuration() {
    if !is_installed("promtool") {
        return;
    }
    let rules = ["recording.rules.yml", "alerts.rules.yml"].map(|name| deploy("prometheus").join(name));
    let config = deploy("prometheus/prometheus.yml");
    for (what, files) in [("rules", &rules[..]), ("config", &[config])] {
        let output = Command::new("promtool").args(["check", what]).args(files).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{what}: {said}");
    }
    let scraped = Scraped::start(&[]);
    TurnClient::hello(scraped.server.address).allocate();
    let page = scraped.until("turnpike_allocations_created_total", 1.0);
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(page.body.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // coturn's names are as they are; of ours it finds nothing to say.
    let of_ours = said.lines().filter(|line| !line.starts_with("turn_") && !line.starts_with("stun_"));
    assert_eq!(of_ours.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn every_metric_that_dashboard_and_rules_name_is_one_that_the_server_has() {
    let scraped = Scraped::start(&[]);
    TurnClient::hello(scraped.server.address).allocate();
    assert_eq!(get(scraped.metrics, "/healthz").status, 200);
    let page = scraped.until("turnpike_self_test_success", 1.0);
    let types = page.body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut known: BTreeSet<String> =
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    // What is there only with a certificate or a database.
    known
        .extend(["turnpike_certificate_expiry_timestamp_seconds", "turnpike_database_up"].map(str::to_owned));
    let recording = std::fs::read_to_string(deploy("prometheus/recording.rules.yml")).unwrap();
    let recorded = recording.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    known.extend(recorded.map(str::to_owned));
    let alerts = std::fs::read_to_string(deploy("prometheus/alerts.rules.yml")).unwrap();
    let texts = panels().into_iter().map(|(_, expression)| expression).chain([recording.clone(), alerts]);
    let mut seen = 0;
    for name in texts.flat_map(|text| metrics_in(&text)) {
        seen += 1;
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        assert!(known.contains(&name) || bare.is_some_and(|bare| known.contains(bare)), "{name}");
    }
    assert!(seen > 80, "{seen} names were found");
}

#[test]
fn the_dashboard_has_panels_that_do_not_overlap_and_say_what_they_show() {
    let dashboard = dashboard();
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{panel}");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((place("x") + x, place("y") + y)), "it overlaps another: {panel}");
        }
    }
    assert!(ids.len() > 30);
}

#[test]
fn compose_accepts_the_file_and_every_file_that_it_mounts_is_there() {
    let file = deploy("compose.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    for mounted in text.lines().filter_map(|line| line.trim().strip_prefix("- ./")) {
        let path = deploy(mounted.split(':').next().unwrap());
        assert!(path.is_dir(), "{}", path.display());
    }
    if !is_installed("docker-compose") {
        return;
    }
    let run = |variables: &[(&str, &str)]| {
        let file = file.to_str().unwrap();
        Command::new("docker-compose")
            .args(["-f", file, "config"])
            .env_remove("TURN_SECRET")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    };
    let good = run(&[("TURN_SECRET", "a"), ("TURN_EXTERNAL_IP", "203.0.113.7")]);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let without = run(&[("TURN_EXTERNAL_IP", "203.0.113.7")]);
    assert!(!without.status.success(), "nobody starts a server without a secret by mistake");
}

/// The titles and expressions of the dashboard.
fn panels() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    let marks = dashboard["annotations"]["list"].as_array().unwrap().iter();
    let marks =
        marks.map(|it| (it["name"].as_str().unwrap().to_owned(), it["expr"].as_str().unwrap().to_owned()));
    targets.chain(marks).collect()
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(deploy("grafana/dashboards/turnpike.json")).unwrap();
    serde_json::from_str(&text).expect("JSON")
}

/// Whatever looks like a metric of ours, coturn's or a process's.
fn metrics_in(text: &str) -> Vec<String> {
    let words =
        text.split(|character: char| !(character.is_ascii_alphanumeric() || "_:".contains(character)));
    let words = words.map(|word| word.trim_end_matches(':'));
    let is_metric = |word: &&str| {
        ["turnpike_", "turnpike:", "turn_", "stun_", "process_"].iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

fn deploy(what: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy")).join(what)
}

/// Prometheus answers in chunks; each begins with its length.
fn unchunked(head: &str, body: &str) -> String {
    if !head.contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        whole.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    whole
}

fn is_installed(program: &str) -> bool {
    let there =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("skipped: it needs {program}; see scripts/install-test-needs");
    }
    there
}
