//! Hetzner Cloud: a document in YAML, of which one line is of interest. It does not know of floating addresses.

use super::{Pair, Trouble, address};
use crate::external_address::http::Service;

pub(super) async fn ask(service: &Service) -> Result<Vec<Pair>, Trouble> {
    let document = service.get(DOCUMENT, &[]).await?.success()?;
    read(&document)
}

fn read(document: &str) -> Result<Vec<Pair>, Trouble> {
    // Keys of the outermost level begin their line.
    let value = |key: &str| {
        let line = document.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().trim_matches(['"', '\'']))
    };
    if value("instance-id").is_none() {
        return Err(Trouble::Absent);
    }
    match value("public-ipv4") {
        None | Some("") => Ok(Vec::new()),
        Some(text) => Ok(vec![Pair { public: address(text)?, private: None }]),
    }
}

const DOCUMENT: &str = "/hetzner/v1/metadata";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_line_is_found_and_lines_further_in_are_not_taken_for_it() {
        let document = "hostname: turn\ninstance-id: 42\nnetwork-config:\n  public-ipv4: 10.0.0.1\npublic-ipv4: \"5.75.1.2\"\n";
        let expected = Pair { public: "5.75.1.2".parse().unwrap(), private: None };
        assert_eq!(read(document), Ok(vec![expected]));
        assert_eq!(read("instance-id: 42\npublic-ipv4: ''\n"), Ok(Vec::new()));
        assert!(matches!(read("instance-id: 42\npublic-ipv4: x\n"), Err(Trouble::Nonsense(_))));
        assert_eq!(read("<html>"), Err(Trouble::Absent));
    }
}
