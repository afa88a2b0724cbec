//! The machine: clock, descriptors, buffers, kernel.

use turnpike_config::FastPath;
use turnpike_xdp::Point;

use super::Patient;
use super::safety::is_server;
use crate::findings::Finding;

pub(super) fn clock(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "clock";
    let system = &patient.system;
    if system.has("/run/systemd/timesync/synchronized") {
        return vec![Finding::ok(ID, "kept by systemd-timesyncd")];
    }
    let keeper =
        system.processes().into_iter().find(|(_, name)| KEEPERS.iter().any(|it| name.starts_with(it)));
    vec![match keeper {
        Some((_, name)) => Finding::ok(ID, format!("{name} is running")),
        // In a container the host keeps it.
        None if system.has("/.dockerenv") || system.has("/run/.containerenv") => {
            Finding::note(ID, "whether it is kept right only the host of this container knows", "")
        }
        None => Finding::note(
            ID,
            "nobody is seen to keep it right: neither chrony, ntpd nor systemd-timesyncd",
            "REST credentials expire by this clock: timedatectl set-ntp true, or apt-get install chrony",
        ),
    }]
}

pub(super) fn descriptors(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "descriptors";
    let config = &patient.config;
    if config.stun_only || config.multiplex {
        return Vec::new();
    }
    let running = patient.system.processes().into_iter().find(|(_, name)| name.starts_with("turnserver"));
    let of_running = running.and_then(|(process, _)| {
        let limits = patient.system.read(&format!("/proc/{process}/limits"))?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.to_owned();
        // The server raises the first to the second.
        Some((format!("process {process}"), line.split_whitespace().nth(1)?.parse::<u64>().ok()?))
    });
    let own =
        || Some(("a server started from here".to_owned(), turnpike_net::raise_descriptor_limit().ok()?.now));
    let Some((whose, limit)) = of_running.or_else(own) else { return Vec::new() };
    let ports = u64::from(config.max_port.saturating_sub(config.min_port)) + 1;
    vec![match limit >= ports + 64 {
        true => Finding::ok(ID, format!("{whose} may have {limit}, for {ports} relay ports")),
        false => Finding::warning(
            ID,
            format!("{whose} may have {limit}: fewer than the {ports} relay ports, each of which takes one"),
            "LimitNOFILE=1048576 in the unit, or ulimit -n; multiplex-peer needs few",
        ),
    }]
}

pub(super) fn socket_buffers(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "socket-buffers";
    let wanted = patient.config.socket_buffer as u64;
    let limits = ["rmem_max", "wmem_max"]
        .map(|name| patient.system.number(&format!("/proc/sys/net/core/{name}")).map(|limit| (name, limit)));
    let short: Vec<String> = limits
        .iter()
        .flatten()
        .filter(|(_, limit)| *limit < wanted)
        .map(|(name, limit)| format!("net.core.{name} is {limit}"))
        .collect();
    if limits.iter().all(Option::is_none) {
        return Vec::new();
    }
    vec![match short.is_empty() {
        true => Finding::ok(ID, format!("{wanted} bytes each way are granted")),
        false => Finding::warning(
            ID,
            format!("{}, less than the {wanted} bytes that are asked for: bursts are lost", short.join(", ")),
            format!(
                "sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, and keep it in /etc/sysctl.d"
            ),
        ),
    }]
}

pub(super) fn conntrack(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "conntrack";
    let of = |name: &str| patient.system.number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    let (Some(count), Some(most)) = (of("count"), of("max")) else {
        return vec![Finding::ok(ID, "connections are not tracked here")];
    };
    let full = count.saturating_mul(100) / most.max(1);
    // Each allocation is a flow of the client's, and one of each peer's.
    let ports = u64::from(patient.config.max_port.saturating_sub(patient.config.min_port)) + 1;
    let fix = "sysctl -w net.netfilter.nf_conntrack_max=1048576, or leave the server's ports untracked (nft: notrack)";
    vec![match full {
        80.. => Finding::error(
            ID,
            format!("{count} of {most} flows are tracked: new ones are about to be dropped"),
            fix,
        ),
        _ if most < ports * 2 && !patient.config.stun_only => Finding::note(
            ID,
            format!(
                "room for {most} flows, {count} taken; {ports} relay ports may come to {} and more",
                ports * 2
            ),
            fix,
        ),
        _ => Finding::ok(ID, format!("{count} of {most} flows")),
    }]
}

pub(super) fn fast_path(patient: &Patient) -> Vec<Finding> {
    const ID: &str = "fast-path";
    let release = patient.system.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).unwrap_or(0);
    let version = (number(), number());
    let needed = match patient.config.fast_path.place {
        FastPath::Off if version < Point::Tc.oldest_kernel() => {
            return vec![Finding::ok(ID, format!("off; the server relays by itself (kernel {release})"))];
        }
        FastPath::Off => {
            let could = "this kernel could relay for it: fast-path=auto, see docs/fast-path.md";
            return vec![Finding::ok(ID, format!("off; the server relays by itself, and {could}"))];
        }
        FastPath::Tc => Point::Tc.oldest_kernel(),
        FastPath::Xdp | FastPath::Auto => Point::Xdp.oldest_kernel(),
    };
    if version < needed {
        let fix = format!(
            "a kernel of {}.{} or later; until then the server relays everything itself",
            needed.0, needed.1
        );
        return vec![Finding::warning(ID, format!("kernel {release} is too old for it"), fix)];
    }
    let lacking = lacking_capabilities(patient);
    if !lacking.is_empty() {
        return vec![Finding::warning(
            ID,
            format!("the service cannot have {}", lacking.join(" and ")),
            "AmbientCapabilities=CAP_NET_ADMIN CAP_BPF CAP_PERFMON in the unit, --cap-add for a container; see docs/fast-path.md",
        )];
    }
    if !answers_for_routes(patient) {
        return vec![Finding::warning(
            ID,
            "the kernel answers no question for a route: forwarding is off on every interface",
            "sysctl -w net.ipv4.conf.lo.forwarding=1, and net.ipv6.conf.lo.forwarding=1 for IPv6; see docs/fast-path.md",
        )];
    }
    vec![Finding::ok(
        ID,
        format!("kernel {release} has what it takes; the server's log says what came of it"),
    )]
}

/// What loading the program takes and the service cannot have. The bounding set is what it can be given; a running server
/// has given up what it needed at start.
fn lacking_capabilities(patient: &Patient) -> Vec<&'static str> {
    let running = patient.system.processes().into_iter().find(|(_, name)| is_server(name));
    let status = running
        .and_then(|(process, _)| patient.system.read(&format!("/proc/{process}/status")))
        .or_else(|| patient.system.read("/proc/self/status"))
        .unwrap_or_default();
    let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let held = bounds.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(u64::MAX);
    let needed = [(12, "CAP_NET_ADMIN"), (39, "CAP_BPF")].into_iter();
    needed.filter(|(bit, _)| held >> bit & 1 == 0).map(|(_, name)| name).collect()
}

/// Whether routes can be looked up from loopback or from an interface that was named or, by default, from any.
fn answers_for_routes(patient: &Patient) -> bool {
    let named = &patient.config.fast_path.interfaces;
    ["ipv4", "ipv6"].into_iter().any(|family| {
        let directory = format!("/proc/sys/net/{family}/conf");
        let all = patient.system.names(&directory).into_iter();
        let mut asked = all.filter(|name| match name.as_str() {
            "all" | "default" => false,
            name => name == "lo" || named.is_empty() || named.iter().any(|named| named == name),
        });
        asked.any(|name| patient.system.number(&format!("{directory}/{name}/forwarding")) == Some(1))
    })
}

const KEEPERS: [&str; 6] = ["chronyd", "ntpd", "ntpsec", "openntpd", "systemd-timesyn", "ptp4l"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::tests::patient_at;
    use crate::findings::Severity;
    use turnpike_config::{Config, FastPathSettings};

    fn severity(
        check: fn(&Patient) -> Vec<Finding>,
        config: Config,
        files: &[(&str, &str)],
    ) -> Option<Severity> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        check(&patient_at(config, root.path())).first().map(|finding| finding.severity)
    }

    #[test]
    fn small_socket_buffers_are_told_of() {
        let at = |bytes: &str| {
            let files = [("proc/sys/net/core/rmem_max", bytes), ("proc/sys/net/core/wmem_max", bytes)];
            severity(socket_buffers, Config::default(), &files)
        };
        assert_eq!(at("212992\n"), Some(Severity::Warning));
        assert_eq!(at("4194304\n"), Some(Severity::Ok));
    }

    #[test]
    fn a_full_conntrack_table_is_an_error() {
        let at = |count: &str, most: &str| {
            let files = [
                ("proc/sys/net/netfilter/nf_conntrack_count", count),
                ("proc/sys/net/netfilter/nf_conntrack_max", most),
            ];
            severity(conntrack, Config::default(), &files)
        };
        assert_eq!(at("60000", "65536"), Some(Severity::Error));
        assert_eq!(at("10", "16384"), Some(Severity::Note));
        assert_eq!(at("10", "1048576"), Some(Severity::Ok));
        assert_eq!(severity(conntrack, Config::default(), &[]), Some(Severity::Ok));
    }

    #[test]
    fn the_descriptors_of_a_running_server_are_counted() {
        let at = |hard: &str| {
            let limits = format!(
                "Limit Soft Hard Units\nMax open files            1024                 {hard}              files\n"
            );
            let files = [("proc/77/comm", "turnserver\n"), ("proc/77/limits", limits.as_str())];
            severity(descriptors, Config::default(), &files)
        };
        assert_eq!(at("4096"), Some(Severity::Warning));
        assert_eq!(at("1048576"), Some(Severity::Ok));
    }

    #[test]
    fn the_fast_path_needs_a_kernel_capabilities_and_routes() {
        let at = |place, release: &str, bounds: &str, forwarding: &str| {
            let status = format!("Name:\tturnserver\nCapBnd:\t{bounds}\n");
            let files = [
                ("proc/sys/kernel/osrelease", release),
                ("proc/77/comm", "turnserver\n"),
                ("proc/77/status", status.as_str()),
                ("proc/sys/net/ipv6/conf/lo/forwarding", forwarding),
            ];
            let place = FastPathSettings { place, ..FastPathSettings::default() };
            severity(fast_path, Config { fast_path: place, ..Config::default() }, &files)
        };
        let all = "000001ffffffffff";
        assert_eq!(at(FastPath::Tc, "6.6.0-18-amd64", all, "1\n"), Some(Severity::Ok));
        assert_eq!(at(FastPath::Tc, "6.6.0-18-amd64", "0000000000000400", "1\n"), Some(Severity::Warning));
        assert_eq!(at(FastPath::Tc, "6.6.0-18-amd64", all, "0\n"), Some(Severity::Warning));
        assert_eq!(at(FastPath::Tc, "6.1.0-18-amd64", all, "1\n"), Some(Severity::Warning));
        assert_eq!(at(FastPath::Auto, "6.1.0-18-amd64", all, "1\n"), Some(Severity::Ok));
        assert_eq!(at(FastPath::Xdp, "5.11.0", all, "1\n"), Some(Severity::Warning));
        assert_eq!(at(FastPath::Off, "4.14.336", all, "0\n"), Some(Severity::Ok));
        assert_eq!(at(FastPath::Off, "6.12.0", all, "0\n"), Some(Severity::Ok));
    }

    #[test]
    fn somebody_has_to_keep_the_clock() {
        assert_eq!(severity(clock, Config::default(), &[("proc/5/comm", "chronyd\n")]), Some(Severity::Ok));
        assert_eq!(severity(clock, Config::default(), &[("proc/5/comm", "bash\n")]), Some(Severity::Note));
    }
}
