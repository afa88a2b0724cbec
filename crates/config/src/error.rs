//! What stops the server from starting. Each message says what is wrong, where, and what to do.

use crate::load::{Notice, Severity};

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be read.
    #[error("{0}")]
    CommandLine(String),
    /// A value cannot be used.
    #[error("{origin}: {option}: {problem}")]
    Value {
        /// Where it stands.
        origin: String,
        /// The option.
        option: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A configuration file cannot be read.
    #[error("cannot read the configuration file {path}: {problem}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        problem: String,
    },
    /// Something was probably meant otherwise: a start leaves it out with a warning, a running server does not take it up.
    #[error("{origin}: {text}")]
    Slip {
        /// Where it stands.
        origin: String,
        /// What it is, and what may be meant.
        text: String,
    },
    /// Options contradict each other, or something necessary is missing.
    #[error("{0}")]
    Contradiction(String),
    /// Several of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<ConfigError>),
    /// Something is wrong, and there are warnings that may tell why: a misspelt key leaves its option unset.
    #[error("{}{problem}", .warnings.iter().map(|it| format!("warning: {}: {}\n", it.origin, it.text)).collect::<String>())]
    Explained {
        /// What is wrong.
        problem: Box<ConfigError>,
        /// What else there is to say.
        warnings: Vec<Notice>,
    },
}

impl ConfigError {
    /// All problems as one; `None` if there are none.
    pub(crate) fn of(mut problems: Vec<ConfigError>, notices: &[Notice]) -> Option<Self> {
        let problem = if problems.len() > 1 { ConfigError::Several(problems) } else { problems.pop()? };
        let warnings: Vec<Notice> =
            notices.iter().filter(|notice| notice.severity == Severity::Warning).cloned().collect();
        if warnings.is_empty() {
            return Some(problem);
        }
        Some(ConfigError::Explained { problem: Box::new(problem), warnings })
    }
}
