//! PostgreSQL's connection strings: `key=value` pairs as libpq reads them, and URIs.

/// The pairs of either form, in order.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let text = text.trim();
    match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => uri(rest),
        None => pairs(text),
    }
}

/// The pairs as one `key='value'` string.
pub(super) fn write(pairs: &[(String, String)]) -> String {
    let quoted = pairs.iter().map(|(key, value)| {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{key}='{value}'")
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn pairs(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut rest = text.chars().peekable();
    let mut pairs = Vec::new();
    loop {
        while rest.next_if(|next| next.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let mut key = String::new();
        while let Some(next) = rest.next_if(|next| *next != '=' && !next.is_whitespace()) {
            key.push(next);
        }
        while rest.next_if(|next| next.is_whitespace()).is_some() {}
        if rest.next() != Some('=') || key.is_empty() {
            return Err("something in the connection string is not key=value");
        }
        while rest.next_if(|next| next.is_whitespace()).is_some() {}
        let quoted = rest.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match rest.next() {
                Some('\'') if quoted => break,
                Some('\\') => value.extend(rest.next()),
                Some(next) if !quoted && next.is_whitespace() => break,
                Some(next) => value.push(next),
                None if quoted => return Err("a quote in the connection string is not closed"),
                None => break,
            }
        }
        pairs.push((key, value));
    }
}

fn uri(rest: &str) -> Result<Vec<(String, String)>, &'static str> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        // The colons of an IPv6 address are between brackets.
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        names.push(decode(name.trim_start_matches('[').trim_end_matches(']'))?);
        ports.push(port.to_owned());
    }
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: String| {
        if !value.is_empty() {
            pairs.push((key.to_owned(), value));
        }
    };
    add("user", decode(user)?);
    add("password", decode(password)?);
    add("host", names.join(","));
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", ports.join(","));
    }
    add("dbname", decode(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) =
            pair.split_once('=').ok_or("something behind the ? of the URI is not key=value")?;
        match (key, value) {
            ("ssl", "true") => add("sslmode", "require".to_owned()),
            _ => add(&decode(key)?, decode(value)?),
        }
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        bytes.extend(
            digits.and_then(crate::hex::decode::<1>).ok_or("a % in the URI is not followed by two digits")?,
        );
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| "the URI is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn pairs_are_read_with_quotes_and_backslashes() {
        assert_eq!(
            read(r"host=db.example dbname = 'two words'  password='it\'s' user=a\ b connect_timeout=30"),
            owned(&[
                ("host", "db.example"),
                ("dbname", "two words"),
                ("password", "it's"),
                ("user", "a b"),
                ("connect_timeout", "30")
            ])
        );
        for wrong in ["host", "=x", "host='x", "a=b c"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn uris_come_to_the_same_pairs() {
        assert_eq!(
            read("postgresql://me:p%40ss@[::1]:5433,db2/turn?sslmode=verify-full&connect_timeout=3"),
            owned(&[
                ("user", "me"),
                ("password", "p@ss"),
                ("host", "::1,db2"),
                ("port", "5433,"),
                ("dbname", "turn"),
                ("sslmode", "verify-full"),
                ("connect_timeout", "3")
            ])
        );
        assert_eq!(read("postgres:///turn?host=/run/pg"), owned(&[("dbname", "turn"), ("host", "/run/pg")]));
        assert!(parse("postgres://a%zz@h/d").is_err());
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        let pairs = owned(&[("password", r"it's a \ "), ("host", "h")]);
        assert_eq!(read(&write(&pairs)), pairs);
    }
}
