//! What `turnpike doctor` and `turnpike probe` have to say, and how it is shown: each finding with what was looked at,
//! how bad it is, and what to do.

use std::fmt::Write as _;
use std::io::stdout;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::terminal::{print, say, shows_colour};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The name of the check, for people to search for and programs to go by.
    pub(crate) id: &'static str,
    pub(crate) severity: Severity,
    /// What is the case.
    pub(crate) evidence: String,
    /// What to do; empty where nothing is to be done.
    pub(crate) fix: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It will trouble somebody.
    Warning,
    /// It does not work, or is dangerous.
    Error,
}

/// A check as the documentation lists it.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described {
    pub(crate) id: &'static str,
    /// What it looks at.
    pub(crate) asks: &'static str,
}

impl Finding {
    pub(crate) fn ok(id: &'static str, evidence: impl Into<String>) -> Self {
        Finding { id, severity: Severity::Ok, evidence: evidence.into(), fix: String::new() }
    }

    pub(crate) fn note(id: &'static str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { id, severity: Severity::Note, evidence: evidence.into(), fix: fix.into() }
    }

    pub(crate) fn warning(id: &'static str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { id, severity: Severity::Warning, evidence: evidence.into(), fix: fix.into() }
    }

    pub(crate) fn error(id: &'static str, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { id, severity: Severity::Error, evidence: evidence.into(), fix: fix.into() }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "severity": self.severity.word(),
            "evidence": self.evidence,
            "fix": (!self.fix.is_empty()).then_some(&self.fix),
        })
    }
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Severity::Ok => "\u{1b}[32m",
            Severity::Note => "\u{1b}[36m",
            Severity::Warning => "\u{1b}[1;33m",
            Severity::Error => "\u{1b}[1;31m",
        }
    }

    /// The exit status of a program that found nothing worse: 0 with nothing to mend, 1 with warnings, 2 with errors.
    fn exit(self) -> ExitCode {
        match self {
            Severity::Ok | Severity::Note => ExitCode::SUCCESS,
            Severity::Warning => ExitCode::from(1),
            Severity::Error => ExitCode::from(2),
        }
    }
}

/// Shows all findings, worst last where people look first, and gives the exit status.
pub(crate) fn show(findings: &[Finding], as_json: bool, quiet: bool) -> ExitCode {
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    if as_json {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let all: Vec<Value> = findings.iter().map(Finding::json).collect();
        say!(
            "{:#}",
            json!({
                "worst": worst.word(),
                "errors": count(Severity::Error),
                "warnings": count(Severity::Warning),
                "notes": count(Severity::Note),
                "findings": all,
            })
        );
        return worst.exit();
    }
    let shown = findings.iter().filter(|finding| !quiet || finding.severity > Severity::Ok);
    let coloured = shows_colour(&stdout());
    let mut text = String::new();
    for finding in shown {
        let (on, off) = if coloured { (finding.severity.colour(), "\u{1b}[0m") } else { ("", "") };
        let _ =
            writeln!(text, "{on}{:<8}{off} {:<20} {}", finding.severity.word(), finding.id, finding.evidence);
        if !finding.fix.is_empty() {
            let _ = writeln!(text, "{:29} → {}", "", finding.fix);
        }
    }
    let _ = writeln!(text, "\n{}", summary(findings));
    let _ = print(&text);
    worst.exit()
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let part = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {}, {}, {} as it should be",
        part(count(Severity::Error), "error"),
        part(count(Severity::Warning), "warning"),
        part(count(Severity::Note), "note"),
        count(Severity::Ok)
    )
}

/// Nothing could be looked at.
pub(crate) fn could_not_look(error: &anyhow::Error) -> ExitCode {
    let (on, off) = if shows_colour(&std::io::stderr()) { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
    eprintln!("{on}turnpike:{off} {error:#}");
    ExitCode::from(3)
}
