//! `turnpike container`: the server as an image starts it. Options come as arguments or as variables, secrets as files,
//! and nothing is read by a shell: what is meant as text stays text.
//!
//! coturn's image lets a shell evaluate every argument, which is how `$(detect-external-ip)` works there and how a secret
//! with a `$` in it breaks. Here that very text is understood, and nothing else is.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ArgMatches;
use turnpike_config::nearest;
use turnpike_config::options::{self, Effect, OptionSpec};

use crate::{called_as, turnserver};

/// Runs the server, or the program that the first word names.
///
/// # Errors
/// A variable names no option, or a file that it names cannot be read.
pub fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    let words: Vec<OsString> =
        arguments.get_many::<OsString>("arguments").into_iter().flatten().cloned().collect();
    if let Some(code) = words.first().and_then(|first| called_as::run_as(first, words[1..].to_vec())) {
        return Ok(code);
    }
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    Ok(turnserver::main(command_line(words, &variables)?))
}

/// The arguments of the server: what variables say, then what was given, so that an argument wins.
fn command_line(words: Vec<OsString>, variables: &[(String, String)]) -> anyhow::Result<Vec<OsString>> {
    let mut line = Vec::new();
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let (option, value) = match option_called(name) {
            Some(option) => (option, value.clone()),
            None => match name.strip_suffix("_FILE").and_then(option_called) {
                Some(option) => (option, read(variable, value)?),
                None if is_of_kubernetes(name) => continue,
                None => bail!("{}", unknown(variable, name)),
            },
        };
        // Of options that may be repeated, a line each.
        let lines = value.lines().filter(|line| !line.trim().is_empty());
        line.extend(lines.map(|value| OsString::from(format!("--{}={value}", option.name()))));
    }
    let words = words.into_iter().filter_map(without_shell);
    let given: Vec<OsString> = words.collect();
    let says_address =
        |word: &str| word == "--external-ip" || word.starts_with("--external-ip=") || word.starts_with("-X");
    if !given.iter().chain(&line).any(|word| word.to_str().is_some_and(says_address)) {
        line.extend(external_address(variables));
    }
    line.extend(given);
    Ok(line)
}

/// What the variables of coturn's image say of the public address.
fn external_address(variables: &[(String, String)]) -> Option<OsString> {
    let value = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    if let Some(address) = value("REAL_EXTERNAL_IP") {
        return Some(format!("--external-ip={address}").into());
    }
    let is_yes = |value: &str| !matches!(value.to_ascii_lowercase().as_str(), "0" | "no" | "false" | "off");
    let asked = ["DETECT_EXTERNAL_IP", "DETECT_EXTERNAL_IPV6"].into_iter().filter_map(value).any(is_yes);
    asked.then(|| "--external-ip=auto".into())
}

/// An argument in which coturn's image would have a shell find an address. The server finds its public address itself, and
/// relays from all of its own without being told.
fn without_shell(word: OsString) -> Option<OsString> {
    let Some(text) = word.to_str() else { return Some(word) };
    match text.split_once('=') {
        Some((name @ "--external-ip", value)) if value.starts_with("$(detect-external-ip") => {
            Some(format!("{name}=auto").into())
        }
        Some(("--relay-ip", value)) if value.starts_with("$(detect-relay-ip") => None,
        _ => Some(word),
    }
}

/// The option that a variable stands for.
fn option_called(name: &str) -> Option<&'static OptionSpec> {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    let is_wanted = |option: &&OptionSpec| {
        option.names.iter().any(|name| name.replace('_', "-") == wanted) && is_settable(option)
    };
    options::all().find(is_wanted)
}

fn is_settable(option: &OptionSpec) -> bool {
    !matches!(option.effect, Effect::Verb(_)) || option.name() == "config"
}

fn read(variable: &str, path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read the file that {variable} names: {path}"))
}

/// Kubernetes tells every container of each service beside it, by variables that begin with the service's name.
fn is_of_kubernetes(name: &str) -> bool {
    name.starts_with("SERVICE_") || name == "PORT" || name.starts_with("PORT_")
}

fn unknown(variable: &str, name: &str) -> String {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    let names = options::all().filter(|option| is_settable(option)).map(|option| option.name());
    let near = nearest(&wanted, names).map(|near| near.to_ascii_uppercase().replace('-', "_"));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {PREFIX}{near}?"));
    format!("the variable {variable} names no option of turnserver{hint}")
}

const PREFIX: &str = "TURNPIKE_";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str], variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let line = command_line(words.iter().map(OsString::from).collect(), &variables);
        let texts = |line: Vec<OsString>| line.into_iter().map(|word| word.into_string().unwrap()).collect();
        line.map(texts).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn variables_become_options_and_arguments_come_last() {
        let variables = [
            ("TURNPIKE_REALM", "example.org"),
            ("TURNPIKE_VERBOSE", "yes"),
            ("TURNPIKE_NO_TLSV1", "yes"),
            ("TURNPIKE_USER", "ada:one\ngrace:two\n"),
            ("HOME", "/root"),
        ];
        assert_eq!(
            line(&["--realm=other"], &variables).unwrap(),
            [
                "--realm=example.org",
                "--verbose=yes",
                "--no-tlsv1=yes",
                "--user=ada:one",
                "--user=grace:two",
                "--realm=other"
            ]
        );
    }

    #[test]
    fn a_secret_comes_from_a_file_and_is_not_changed_by_anybody() {
        let path = std::env::temp_dir().join(format!("turnpike-container-{}", std::process::id()));
        fs::write(&path, "pa$$ `id` $(id) \"word\"\n").unwrap();
        let variables = [("TURNPIKE_STATIC_AUTH_SECRET_FILE", path.to_str().unwrap())];
        let words = line(&["--user=a:$(id)"], &variables).unwrap();
        assert_eq!(words, ["--static-auth-secret=pa$$ `id` $(id) \"word\"", "--user=a:$(id)"]);
        fs::remove_file(&path).unwrap();
        let error = line(&[], &variables).unwrap_err();
        assert!(error.contains("TURNPIKE_STATIC_AUTH_SECRET_FILE"), "{error}");
    }

    #[test]
    fn what_starts_coturns_image_starts_this_one() {
        let habit =
            ["--log-file=stdout", "--external-ip=$(detect-external-ip)", "--relay-ip=$(detect-relay-ip)"];
        assert_eq!(line(&habit, &[]).unwrap(), ["--log-file=stdout", "--external-ip=auto"]);
        assert_eq!(line(&["-v"], &[("DETECT_EXTERNAL_IP", "yes")]).unwrap(), ["--external-ip=auto", "-v"]);
        assert_eq!(line(&["-v"], &[("DETECT_EXTERNAL_IP", "no")]).unwrap(), ["-v"]);
        let with_server = [("DETECT_EXTERNAL_IP", "yes"), ("TURNPIKE_EXTERNAL_IP_STUN", "192.0.2.9")];
        assert_eq!(line(&[], &with_server).unwrap(), ["--external-ip-stun=192.0.2.9", "--external-ip=auto"]);
        let real = [("DETECT_EXTERNAL_IP", "yes"), ("REAL_EXTERNAL_IP", "203.0.113.7")];
        assert_eq!(line(&[], &real).unwrap(), ["--external-ip=203.0.113.7"]);
        assert_eq!(line(&["-X", "203.0.113.8"], &real).unwrap(), ["-X", "203.0.113.8"]);
    }

    #[test]
    fn a_variable_that_is_no_option_is_named_and_those_of_kubernetes_are_not() {
        let error = line(&[], &[("TURNPIKE_LISENING_PORT", "3478")]).unwrap_err();
        assert!(error.contains("did you mean TURNPIKE_LISTENING_PORT?"), "{error}");
        let cluster =
            [("TURNPIKE_PORT_3478_UDP", "udp://10.0.0.1:3478"), ("TURNPIKE_SERVICE_HOST", "10.0.0.1")];
        assert_eq!(line(&[], &cluster).unwrap(), [""; 0]);
        assert!(line(&[], &[("TURNPIKE_HELP", "yes")]).is_err());
    }
}
