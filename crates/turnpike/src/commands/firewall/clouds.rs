//! Firewalls of clouds.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Rules;

/// One call of the AWS command-line tool for a security group.
pub(super) fn aws(rules: &Rules<'_>) -> String {
    let permissions: Vec<Value> = rules
        .openings
        .iter()
        .map(|opening| {
            let sources = rules.sources(opening);
            let description = |source: &&str| json!({ "CidrIp": source, "Description": label(opening.what) });
            let description_v6 =
                |source: &&str| json!({ "CidrIpv6": source, "Description": label(opening.what) });
            let (v6, v4): (Vec<&str>, Vec<&str>) =
                sources.into_iter().partition(|source| source.contains(':'));
            json!({
                "IpProtocol": opening.protocol.word(),
                "FromPort": opening.first,
                "ToPort": opening.last,
                "IpRanges": v4.iter().map(description).collect::<Vec<_>>(),
                "Ipv6Ranges": v6.iter().map(description_v6).collect::<Vec<_>>(),
            })
        })
        .collect();
    format!(
        "aws ec2 authorize-security-group-ingress --group-id {} --ip-permissions '{}'\n",
        rules.group.unwrap_or("sg-REPLACE"),
        Value::from(permissions)
    )
}

/// AWS allows letters, digits, spaces and a few marks in a description.
fn label(what: &str) -> String {
    let allowed =
        |character: &char| character.is_ascii_alphanumeric() || " ._-:/()#,@+=&".contains(*character);
    format!("turnpike: {}", what.chars().filter(allowed).collect::<String>())
}

/// A security group for Terraform's AWS provider.
pub(super) fn terraform(rules: &Rules<'_>) -> String {
    let mut text = String::from(
        "resource \"aws_security_group\" \"turnpike\" {\n  name_prefix = \"turnpike-\"\n  description = \"TURN server\"\n",
    );
    if let Some(group) = rules.group {
        let _ = writeln!(text, "  vpc_id      = {group:?}");
    }
    let quoted =
        |sources: &[&str]| sources.iter().map(|source| format!("{source:?}")).collect::<Vec<_>>().join(", ");
    for opening in &rules.openings {
        let (v6, v4): (Vec<&str>, Vec<&str>) =
            rules.sources(opening).into_iter().partition(|source| source.contains(':'));
        let _ = writeln!(
            text,
            "\n  ingress {{\n    description      = {:?}\n    protocol         = {:?}\n    from_port        = {}\n    \
             to_port          = {}\n    cidr_blocks      = [{}]\n    ipv6_cidr_blocks = [{}]\n  }}",
            label(opening.what),
            opening.protocol.word(),
            opening.first,
            opening.last,
            quoted(&v4),
            quoted(&v6)
        );
    }
    text.push_str(
        "\n  egress {\n    protocol         = \"-1\"\n    from_port        = 0\n    to_port          = 0\n    \
         cidr_blocks      = [\"0.0.0.0/0\"]\n    ipv6_cidr_blocks = [\"::/0\"]\n  }\n}\n",
    );
    text
}

/// A rule holds sources of one family, and ports for all of them.
pub(super) fn gcp(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    let network = rules.group.unwrap_or("default");
    for (for_peers, name) in [(false, "clients"), (true, "media")] {
        let openings: Vec<_> =
            rules.openings.iter().filter(|opening| opening.for_peers == for_peers).collect();
        let Some(first) = openings.first() else { continue };
        let allowed: Vec<String> = openings
            .iter()
            .map(|opening| format!("{}:{}", opening.protocol.word(), opening.ports("-")))
            .collect();
        let (v6, v4): (Vec<&str>, Vec<&str>) =
            rules.sources(first).into_iter().partition(|source| source.contains(':'));
        for (family, sources) in [("", v4), ("-v6", v6)] {
            if !sources.is_empty() {
                let _ = writeln!(
                    text,
                    "gcloud compute firewall-rules create turnpike-{name}{family} --network={network} --direction=INGRESS \
                     --allow={} --source-ranges={} --target-tags=turnpike",
                    allowed.join(","),
                    sources.join(",")
                );
            }
        }
    }
    text.push_str("gcloud compute instances add-tags INSTANCE --tags=turnpike\n");
    text
}

pub(super) fn azure(rules: &Rules<'_>) -> String {
    let mut text = String::new();
    let group = rules.group.unwrap_or("NETWORK_SECURITY_GROUP");
    for (number, (opening, source)) in rules.each().enumerate() {
        let _ = writeln!(
            text,
            "az network nsg rule create --resource-group RESOURCE_GROUP --nsg-name {group} --name turnpike-{number} \
             --priority {} --direction Inbound --access Allow --protocol {} --destination-port-ranges {} \
             --source-address-prefixes {} --description {:?}",
            300 + number,
            match opening.protocol {
                super::Protocol::Udp => "Udp",
                super::Protocol::Tcp => "Tcp",
            },
            opening.ports("-"),
            source.map_or_else(|| "'*'".to_owned(), str::to_owned),
            label(opening.what)
        );
    }
    text
}
