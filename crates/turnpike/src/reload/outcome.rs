//! What a reload has come to, in words and as JSON.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};
use turnpike_config::{Change, Difference, Notice, Severity};
use turnpike_control::Log;

/// What has changed, or would.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Whether it was done, and not only looked at.
    pub(crate) applied: bool,
    /// The configuration file that was read.
    pub(crate) file: Option<PathBuf>,
    pub(crate) differences: Vec<Difference>,
    /// What else has changed, and what could not.
    pub(crate) remarks: Vec<String>,
    /// What is to be said about the configuration as it stands.
    pub(crate) notices: Vec<Notice>,
}

/// Why nothing has changed.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// What is wrong, a line each.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Whether an option whose name ends so is set otherwise than before.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        self.differences.iter().any(|difference| difference.option.ends_with(name))
    }

    /// How many differences were taken up, and how many need a restart.
    fn counts(&self) -> (usize, usize) {
        let taken = self.differences.iter().filter(|difference| difference.reloadable).count();
        (taken, self.differences.len() - taken)
    }

    pub(crate) fn tell(&self, log: &Log, by: &str) {
        log.info(&format!("Reload ({by}): {}", self.summary()));
        for difference in &self.differences {
            let line = format!("Reload: {difference}");
            if difference.reloadable { log.info(&line) } else { log.warning(&line) }
        }
        self.remarks.iter().for_each(|remark| log.info(&format!("Reload: {remark}")));
        let warnings = self.notices.iter().filter(|notice| notice.severity == Severity::Warning);
        warnings.for_each(|notice| log.warning(&format!("{}: {}", notice.origin, notice.text)));
    }

    pub(crate) fn summary(&self) -> String {
        let file = match &self.file {
            Some(path) => format!("{} was read again", path.display()),
            None => "read again, without a configuration file".to_owned(),
        };
        let what = match (self.counts(), self.applied) {
            ((0, 0), _) => "no option is different".to_owned(),
            ((taken, 0), true) => format!("{}, all in force", counted(taken)),
            ((taken, restart), true) => format!("{} in force, {}", counted(taken), waiting(restart)),
            ((taken, restart), false) => {
                format!("a reload would bring {} into force; {}", counted(taken), waiting(restart))
            }
        };
        format!("{file}: {what}")
    }

    /// For programs, and with the words for people.
    pub(crate) fn json(&self) -> Value {
        json!({
            "text": self.to_string(),
            "applied": self.applied,
            "file": self.file,
            "differences": self.differences.iter().map(difference).collect::<Vec<_>>(),
            "remarks": self.remarks,
            "warnings": self.notices.iter()
                .filter(|notice| notice.severity == Severity::Warning)
                .map(|notice| json!({ "origin": notice.origin, "text": notice.text }))
                .collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Outcome {
    /// Several lines, without one at the end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.summary())?;
        self.differences.iter().try_for_each(|difference| write!(formatter, "\n  {difference}"))?;
        self.remarks.iter().try_for_each(|remark| write!(formatter, "\n  {remark}"))
    }
}

impl Refused {
    pub(crate) fn of(before: &str, problems: &str) -> Self {
        Refused { problems: problems.lines().map(|line| format!("{before}{line}")).collect() }
    }

    pub(crate) fn tell(&self, log: &Log, by: &str) {
        log.error(&format!("Reload ({by}): nothing has changed, because of what follows"));
        self.problems.iter().for_each(|problem| log.error(&format!("Reload: {problem}")));
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nothing has changed:")?;
        self.problems.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))
    }
}

fn counted(differences: usize) -> String {
    if differences == 1 { "1 difference".to_owned() } else { format!("{differences} differences") }
}

fn waiting(differences: usize) -> String {
    if differences == 1 { "1 needs a restart".to_owned() } else { format!("{differences} need a restart") }
}

fn difference(difference: &Difference) -> Value {
    let Difference { option, change, reloadable, origin } = difference;
    let mut value = match change {
        Change::Secret => json!({ "changed": true }),
        Change::Secrets { added, removed } => json!({ "secretsAdded": added, "secretsRemoved": removed }),
        Change::Value { before, after } => json!({ "before": before, "after": after }),
        Change::List { added, removed, changed } => {
            json!({ "added": added, "removed": removed, "changed": changed })
        }
        Change::Order => json!({ "order": true }),
    };
    value["option"] = json!(option);
    value["restart"] = json!(!reloadable);
    value["origin"] = json!(origin);
    value
}
