//! The flags of `turnutils_oauth`: those of coturn's tool, with its limits and its exit statuses.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use turnpike_turn::{MacKey, Token, TokenCipher, TokenKey};

use crate::tools::arguments::{Argument, Shape, split};

/// What the arguments ask for.
pub(super) enum Parsed {
    Run(Box<Settings>),
    Help,
}

/// Why the arguments cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a flag of this tool, or a value longer than it takes: exit status 1.
    Flag(String),
    /// Something is missing or makes no sense: exit status 255.
    Unusable(String),
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) server_name: String,
    pub(super) kid: String,
    pub(super) key: TokenKey,
    pub(super) key_timestamp: u64,
    pub(super) key_lifetime: u64,
    /// What to seal, if `-e` is given.
    pub(super) to_seal: Option<Token>,
    /// What to seal it with; random without.
    pub(super) nonce: Option<[u8; 12]>,
    /// Whether `-d` is given: the sealed token is opened, or `token`.
    pub(super) opens: bool,
    pub(super) token: Option<Vec<u8>>,
    /// What is said of the client's HMAC.
    pub(super) hmac: String,
    pub(super) verbose: bool,
}

/// Reads the arguments, the program's name left out.
pub(super) fn parse(arguments: Vec<String>) -> Result<Parsed, Refusal> {
    let (flags, words) = split(&SHAPE, arguments).map_err(Refusal::Flag)?;
    let mut typed = Typed::default();
    for flag in &flags {
        let letter =
            LETTERS.iter().find(|(_, long)| *long == flag.name).map_or(&*flag.name, |(short, _)| short);
        if letter == "h" {
            return Ok(Parsed::Help);
        }
        typed.apply(letter, flag)?;
    }
    if let Some(word) = words.first() {
        return Err(Refusal::Flag(format!("{word:?} is no flag")));
    }
    typed.into_settings().map(|settings| Parsed::Run(Box::new(settings)))
}

/// The flags as typed.
#[derive(Default)]
struct Typed {
    seals: bool,
    opens: bool,
    verbose: bool,
    server_name: String,
    kid: String,
    key: String,
    key_timestamp: u64,
    key_lifetime: u64,
    cipher: Option<String>,
    nonce: Option<String>,
    mac_key: String,
    timestamp: Option<u64>,
    lifetime: Option<u32>,
    token: String,
    hmac: Option<String>,
}

impl Typed {
    fn apply(&mut self, letter: &str, flag: &Argument) -> Result<(), Refusal> {
        let value = flag.value.as_deref().unwrap_or_default();
        let most = |most: usize| match value.len() > most {
            true => Err(Refusal::Flag(format!("-{letter}: the value has at most {most} characters"))),
            false => Ok(value.to_owned()),
        };
        match letter {
            "e" => self.seals = true,
            "d" => self.opens = true,
            "v" => self.verbose = true,
            "i" => self.server_name = most(255)?,
            "j" => self.kid = most(32)?,
            "k" => self.key = most(44)?,
            "l" => self.key_timestamp = number(letter, value)?,
            "m" => self.key_lifetime = number(letter, value)?,
            "n" => self.cipher = Some(most(7)?),
            "o" => self.nonce = Some(value.to_owned()),
            "p" => self.mac_key = most(4 * MacKey::LONGEST.div_ceil(3))?,
            "q" => self.timestamp = Some(number(letter, value)?),
            "r" => self.lifetime = Some(number(letter, value)?),
            "t" => self.token = most(1000)?,
            _ => self.hmac = Some(most(20)?),
        }
        Ok(())
    }

    fn into_settings(self) -> Result<Settings, Refusal> {
        if !(self.seals || self.opens) {
            return unusable("give -e to seal a token or -d to open one (-h explains the flags)");
        }
        for (missing, what) in [
            (self.server_name.is_empty(), "-i, the server's name,"),
            (self.kid.is_empty(), "-j, the name of the key,"),
            (self.key.is_empty(), "-k, the key,"),
            (self.key_timestamp == 0, "-l, the time from which on the key is good,"),
            (self.key_lifetime == 0, "-m, the key's lifetime,"),
            (self.seals && self.mac_key.is_empty(), "-p, the client's key, with -e"),
            (!self.seals && self.token.is_empty(), "-t, the token, with -d"),
        ] {
            if missing {
                return unusable(&format!("{what} is needed"));
            }
        }
        let name = self.cipher.as_deref().unwrap_or("A256GCM");
        let Some(cipher) = TokenCipher::from_name(name) else {
            return unusable(&format!("-n takes A256GCM or A128GCM, not {name}"));
        };
        let Some(key) = TokenKey::new(cipher, &decoded("k", &self.key)?) else {
            return unusable(&format!("-k: {} takes a key of {} bytes", cipher.name(), cipher.key_length()));
        };
        let nonce = self.nonce.as_deref().map(|nonce| {
            decoded("o", nonce)?
                .try_into()
                .or_else(|_| unusable("-o: a nonce has 12 bytes, 16 characters in base64"))
        });
        Ok(Settings {
            to_seal: if self.seals { Some(self.to_seal()?) } else { None },
            token: if self.seals { None } else { Some(decoded("t", &self.token)?) },
            key,
            nonce: nonce.transpose()?,
            server_name: self.server_name,
            kid: self.kid,
            key_timestamp: self.key_timestamp,
            key_lifetime: self.key_lifetime,
            opens: self.opens,
            hmac: self.hmac.unwrap_or_else(|| "HMAC-SHA1".to_owned()),
            verbose: self.verbose,
        })
    }

    fn to_seal(&self) -> Result<Token, Refusal> {
        let Some(mac_key) = MacKey::new(&decoded("p", &self.mac_key)?) else {
            return unusable(&format!("-p: a client's key has 1 to {} bytes", MacKey::LONGEST));
        };
        let timestamp = match self.timestamp {
            Some(timestamp) => timestamp,
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_secs() << 16,
                Err(_) => return unusable("the clock stands before 1970; give -q"),
            },
        };
        Ok(Token { mac_key, timestamp, lifetime: self.lifetime.unwrap_or(DEFAULT_LIFETIME) })
    }
}

fn decoded(letter: &str, value: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(value).or_else(|_| unusable(&format!("-{letter}: this is no base64")))
}

fn number<T: std::str::FromStr>(letter: &str, value: &str) -> Result<T, Refusal> {
    value.parse().or_else(|_| unusable(&format!("-{letter} takes a number, not {value:?}")))
}

fn unusable<T>(why: &str) -> Result<T, Refusal> {
    Err(Refusal::Unusable(why.to_owned()))
}

pub(crate) const USAGE: &str = "\
turnutils_oauth - seal and open access tokens of third-party authorisation (RFC 7635)

USAGE
    turnutils_oauth -e | -d [flags]

WHAT TO DO
    -e, --encrypt                seal a token and print what a client gets, in JSON
    -d, --decrypt                open a token (with -e: the one just sealed)
    -v, --verbose                with -d: print what is in it
    -h, --help                   this text

THE KEY THAT SERVER AND AUTHORISATION SERVER SHARE
    -i, --server-name NAME       the server's name; tokens are good for one server
    -j, --auth-key-id KID        the key's name, at most 32 characters
    -k, --auth-key BASE64        the key, at most 44 characters
    -l, --auth-key-timestamp S   the second since 1970 from which on it is good
    -m, --auth-key-lifetime S    seconds it is good for
    -n, --auth-key-as-rs-alg A   A256GCM (default) or A128GCM

THE TOKEN
    -p, --token-mac-key BASE64   the key that the client signs with: 20 bytes for HMAC-SHA1
    -q, --token-timestamp N      when it begins: seconds since 1970, times 65536 (default: now)
    -r, --token-lifetime S       seconds it is good for (default: 3600)
    -o, --token-nonce BASE64     12 bytes, 16 characters (default: random; never the same twice with one key)
    -u, --hmac-alg NAME          what the JSON says of the client's HMAC (default: HMAC-SHA1)
    -t, --token BASE64           the token to open

A client's key that is no text is printed in base64.

EXIT STATUS
    0 when all was done; 1 for -h, an unknown flag and a value that is too long; 255 for what is missing or wrong, and
    for a token that cannot be opened.
";
const SHAPE: Shape = Shape {
    switches: "hved",
    values: "ijklmnopqrtu",
    long: &[
        ("help", false),
        ("verbose", false),
        ("encrypt", false),
        ("decrypt", false),
        ("server-name", true),
        ("auth-key-id", true),
        ("auth-key", true),
        ("auth-key-timestamp", true),
        ("auth-key-lifetime", true),
        ("auth-key-as-rs-alg", true),
        ("token-nonce", true),
        ("token-mac-key", true),
        ("token-timestamp", true),
        ("token-lifetime", true),
        ("token", true),
        ("hmac-alg", true),
    ],
};
/// Which letter a long name stands for.
const LETTERS: &[(&str, &str)] = &[
    ("h", "help"),
    ("v", "verbose"),
    ("e", "encrypt"),
    ("d", "decrypt"),
    ("i", "server-name"),
    ("j", "auth-key-id"),
    ("k", "auth-key"),
    ("l", "auth-key-timestamp"),
    ("m", "auth-key-lifetime"),
    ("n", "auth-key-as-rs-alg"),
    ("o", "token-nonce"),
    ("p", "token-mac-key"),
    ("q", "token-timestamp"),
    ("r", "token-lifetime"),
    ("t", "token"),
    ("u", "hmac-alg"),
];
/// Seconds.
const DEFAULT_LIFETIME: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;

    const SEALING: &str = "-e -i turn.example.org -j kid -k MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEK \
                           -l 1700000000 -m 21600 -p eHh4eHh4eHh4eHh4eHh4eHh4eHg=";

    fn parsed(words: &str) -> Result<Settings, Refusal> {
        match parse(words.split_whitespace().map(str::to_owned).collect())? {
            Parsed::Run(settings) => Ok(*settings),
            Parsed::Help => panic!("help"),
        }
    }

    #[test]
    fn a_token_is_good_from_now_on_for_an_hour_unless_told_otherwise() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = parsed(SEALING).unwrap().to_seal.unwrap();
        assert!((now..now + 60).contains(&token.made()) && token.timestamp & 0xFFFF == 0);
        assert_eq!((token.lifetime, token.mac_key.bytes()), (3600, &[b'x'; 20][..]));
        let token = parsed(&format!("{SEALING} -q 65536 -r 60")).unwrap().to_seal.unwrap();
        assert_eq!((token.made(), token.lifetime), (1, 60));
    }

    #[test]
    fn what_is_missing_is_named_and_is_255() {
        for (left_out, named) in [
            ("-e", "-e"),
            ("-i", "-i,"),
            ("-j", "-j,"),
            ("-k", "-k,"),
            ("-l", "-l,"),
            ("-m", "-m,"),
            ("-p", "-p,"),
        ] {
            let mut words: Vec<&str> = SEALING.split_whitespace().collect();
            let at = words.iter().position(|word| *word == left_out).unwrap();
            words.drain(at..if left_out == "-e" { at + 1 } else { at + 2 });
            let refusal = parsed(&words.join(" ")).map(|_| ()).unwrap_err();
            let Refusal::Unusable(why) = refusal else { panic!("{refusal:?}") };
            assert!(why.contains(named), "{why}");
        }
        let opening = SEALING.replace("-e", "-d");
        assert_eq!(parsed(&opening).map(|_| ()), unusable("-t, the token, with -d is needed"));
    }

    #[test]
    fn what_cannot_be_is_refused_and_too_long_is_1() {
        for (more, why) in [
            ("-n A192GCM", "-n takes"),
            ("-k AAAA", "takes a key of 32 bytes"),
            ("-k !", "-k: this is no base64"),
            ("-o AAAA", "-o: a nonce has 12 bytes"),
            ("-l soon", "-l takes a number"),
            ("-r -1", "-r takes a number"),
        ] {
            let refusal = parsed(&format!("{SEALING} {more}")).map(|_| ()).unwrap_err();
            assert!(matches!(&refusal, Refusal::Unusable(text) if text.contains(why)), "{more}: {refusal:?}");
        }
        for (flag, most) in [("-i", 255), ("-j", 32), ("-k", 44), ("-n", 7), ("-t", 1000), ("-u", 20)] {
            let longer = format!("{SEALING} {flag} {}", "A".repeat(most + 1));
            assert!(matches!(parsed(&longer), Err(Refusal::Flag(_))), "{flag}");
        }
        assert!(matches!(parsed("-x"), Err(Refusal::Flag(_))));
    }

    #[test]
    fn long_names_are_the_letters() {
        assert_eq!(LETTERS.len(), SHAPE.long.len());
        for (letter, long) in LETTERS {
            let takes_value = SHAPE.long.iter().find(|(name, _)| name == long).unwrap().1;
            assert_eq!(SHAPE.values.contains(letter), takes_value, "{long}");
        }
        let long = SEALING
            .replace("-e ", "--encrypt ")
            .replace("-i ", "--server-name=")
            .replace("-m ", "--auth-key-life ");
        assert_eq!(parsed(&long).unwrap().server_name, "turn.example.org");
    }
}
