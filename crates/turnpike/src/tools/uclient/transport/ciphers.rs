//! `-F`: a cipher list as OpenSSL writes it, for the suites there are here.

use rustls::{CipherSuite, SupportedCipherSuite};

/// The suites a list asks for, in the list's order. As with OpenSSL, the suites of TLS 1.3 are all there unless the list
/// names some. The error is a sentence for the user.
pub(super) fn select(list: &str, here: &[SupportedCipherSuite]) -> Result<Vec<SupportedCipherSuite>, String> {
    let known = here.iter().filter_map(|suite| Known::of(*suite));
    let (newer, older): (Vec<Known>, Vec<Known>) = known.partition(|suite| suite.words.is_empty());
    let mut named: Vec<Known> = Vec::new();
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (sign, word) = match word.chars().next() {
            // The order is the server's business, or that of a list without signs.
            Some('+' | '@') => continue,
            Some('!' | '-') => (false, &word[1..]),
            _ => (true, word),
        };
        // What is not here need not be taken away.
        if !sign {
            named.retain(|suite| !suite.answers_to(word));
            continue;
        }
        let found: Vec<Known> =
            older.iter().chain(&newer).filter(|suite| suite.answers_to(word)).copied().collect();
        if found.is_empty() {
            return Err(unknown(word, here));
        }
        for suite in found {
            if !named.iter().any(|before| before.name == suite.name) {
                named.push(suite);
            }
        }
    }
    if named.is_empty() {
        return Err(format!("-F: {list} leaves no cipher suite"));
    }
    if !named.iter().any(|suite| suite.words.is_empty()) {
        named.splice(0..0, newer);
    }
    Ok(named.into_iter().map(|suite| suite.suite).collect())
}

/// The same for DTLS 1.2, in OpenSSL's words.
pub(super) fn select_for_dtls(list: &str, here: &[SupportedCipherSuite]) -> Result<String, String> {
    let selected = select(list, here)?;
    let known = selected.into_iter().filter_map(Known::of).filter(|suite| !suite.words.is_empty());
    let names: Vec<&str> = known.map(|suite| suite.name).collect();
    if names.is_empty() {
        return Err(format!("-F: {list} leaves no cipher suite for DTLS 1.2"));
    }
    Ok(names.join(":"))
}

/// A suite and OpenSSL's words for it.
#[derive(Clone, Copy)]
struct Known {
    suite: SupportedCipherSuite,
    name: &'static str,
    /// Groups it belongs to; a suite of TLS 1.3 goes by its name alone.
    words: &'static [&'static str],
}

impl Known {
    fn of(suite: SupportedCipherSuite) -> Option<Self> {
        let row = NAMES.iter().find(|(id, ..)| *id == suite.suite());
        row.map(|(_, name, words)| Known { suite, name, words })
    }

    /// Whether a word of a list means it: its name, or groups joined by `+`.
    fn answers_to(&self, word: &str) -> bool {
        let in_group = |group: &str| self.words.contains(&group) || COMMON.contains(&group);
        self.name == word || (!self.words.is_empty() && word.split('+').all(in_group))
    }
}

fn unknown(word: &str, here: &[SupportedCipherSuite]) -> String {
    let names: Vec<&str> =
        here.iter().filter_map(|suite| Known::of(*suite)).map(|suite| suite.name).collect();
    format!(
        "-F: nothing here is called {word}. TLS 1.2 with ephemeral keys and authenticated ciphers, and TLS 1.3: {}",
        names.join(", ")
    )
}

/// Groups all suites of TLS 1.2 here belong to.
const COMMON: &[&str] = &["ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2"];

type Row = (CipherSuite, &'static str, &'static [&'static str]);

const NAMES: &[Row] = &[
    (CipherSuite::TLS13_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", &[]),
    (CipherSuite::TLS13_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", &[]),
    (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", &[]),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;

    fn names(list: &str) -> Result<Vec<&'static str>, String> {
        let selected = select(list, DEFAULT_CIPHER_SUITES)?;
        Ok(selected.into_iter().map(|suite| Known::of(suite).unwrap().name).collect())
    }

    #[test]
    fn every_suite_there_is_has_a_name() {
        assert_eq!(names("ALL").unwrap().len(), DEFAULT_CIPHER_SUITES.len());
    }

    #[test]
    fn a_list_chooses_among_the_suites_of_tls_1_2_and_keeps_its_order() {
        let chosen = names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384").unwrap();
        assert_eq!(chosen[3..], ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
        assert!(chosen[..3].iter().all(|name| name.starts_with("TLS_")));
        let chosen = names("ECDHE+AESGCM+aRSA:!AES128:!aNULL:!MD5:@STRENGTH").unwrap();
        assert_eq!(chosen[3..], ["ECDHE-RSA-AES256-GCM-SHA384"]);
    }

    #[test]
    fn suites_of_tls_1_3_are_chosen_by_name() {
        assert_eq!(names("TLS_AES_128_GCM_SHA256").unwrap(), ["TLS_AES_128_GCM_SHA256"]);
    }

    #[test]
    fn for_dtls_only_suites_of_its_version_count() {
        let names = |list| select_for_dtls(list, DEFAULT_CIPHER_SUITES);
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256").unwrap(), "ECDHE-RSA-AES128-GCM-SHA256");
        assert!(names("TLS_AES_128_GCM_SHA256").unwrap_err().contains("no cipher suite for DTLS 1.2"));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let said = names("ECDHE-RSA-AES128-GCM-SHA256:RC4-MD5").unwrap_err();
        assert!(said.starts_with("-F: nothing here is called RC4-MD5. "), "{said}");
        assert!(names("ALL:!ECDHE").unwrap_err().contains("leaves no cipher suite"));
        assert!(names(":").is_err());
    }
}
