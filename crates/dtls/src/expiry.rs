//! Until when a certificate is good.

use openssl::asn1::Asn1Time;
use openssl::x509::X509;

/// The second, since 1970, after which this certificate (DER) is no good; `None` for what is no certificate.
pub fn certificate_expiry(certificate: &[u8]) -> Option<u64> {
    let certificate = X509::from_der(certificate).ok()?;
    let since = Asn1Time::from_unix(0).ok()?.diff(certificate.not_after()).ok()?;
    u64::try_from(i64::from(since.days) * 86_400 + i64::from(since.secs)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_to_the_second() {
        let mut parameters = rcgen::CertificateParams::new(vec!["turn.example.org".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2031, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        assert_eq!(certificate_expiry(certificate.der()), Some(1_927_843_200));
        assert_eq!(certificate_expiry(b"none"), None);
    }
}
