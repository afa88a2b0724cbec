//! Firewalls of a host.

use std::fmt::Write as _;

use super::{Opening, Rules};

fn family(source: Option<&str>) -> &'static str {
    match source {
        Some(source) if source.contains(':') => "ip6",
        _ => "ip",
    }
}

/// A chain of its own for nftables, which lets these ports in before others are asked.
pub(super) fn nft(rules: &Rules<'_>) -> String {
    let mut text = String::from(
        "# nft -f FILE. In a table of its own, accepting does not overrule what another table drops: with a ruleset of your\n\
         # own, put the lines of the chain into its input chain instead.\n\
         table inet turnpike {\n\tchain input {\n\t\ttype filter hook input priority filter - 1; policy accept;\n",
    );
    for (opening, source) in rules.each() {
        let from =
            source.map(|source| format!("{} saddr {source} ", family(Some(source)))).unwrap_or_default();
        let Opening { protocol, what, .. } = opening;
        let _ = writeln!(
            text,
            "\t\t{from}{} dport {} accept comment \"turnpike: {what}\"",
            protocol.word(),
            opening.ports("-")
        );
    }
    text.push_str("\t}\n}\n");
    text
}

pub(super) fn iptables(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    for (opening, source) in rules.each() {
        let programs: &[&str] = match source {
            None => &["iptables", "ip6tables"],
            Some(source) if source.contains(':') => &["ip6tables"],
            Some(_) => &["iptables"],
        };
        let from = source.map(|source| format!("-s {source} ")).unwrap_or_default();
        for program in programs {
            let _ = writeln!(
                text,
                "{program} -I INPUT {from}-p {} --dport {} -m comment --comment \"turnpike: {}\" -j ACCEPT",
                opening.protocol.word(),
                opening.ports(":"),
                opening.what
            );
        }
    }
    text
}

pub(super) fn ufw(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    for (opening, source) in rules.each() {
        let _ = writeln!(
            text,
            "ufw allow proto {} from {} to any port {} comment 'turnpike: {}'",
            opening.protocol.word(),
            source.unwrap_or("any"),
            opening.ports(":"),
            opening.what
        );
    }
    text
}

pub(super) fn firewalld(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    for (opening, source) in rules.each() {
        let (protocol, ports) = (opening.protocol.word(), opening.ports("-"));
        let _ = match source {
            None => writeln!(text, "firewall-cmd --permanent --add-port={ports}/{protocol}"),
            Some(source) => {
                let family = if source.contains(':') { "ipv6" } else { "ipv4" };
                writeln!(
                    text,
                    "firewall-cmd --permanent --add-rich-rule='rule family=\"{family}\" source address=\"{source}\" \
                     port port=\"{ports}\" protocol=\"{protocol}\" accept'"
                )
            }
        };
    }
    text.push_str("firewall-cmd --reload\n");
    text
}

/// For people who click.
pub(super) fn text(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    for (opening, source) in rules.each() {
        let _ = writeln!(
            text,
            "{:<4} {:<12} from {:<20} {}",
            opening.protocol.word().to_uppercase(),
            opening.ports("-"),
            source.unwrap_or("everywhere"),
            opening.what
        );
    }
    text
}
