//! What stops the server from starting. Each message says what is wrong, where, and what to do.

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The command line cannot be read.
    #[error("{0}; `turnserver -h` lists all options")]
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
    /// Options contradict each other, or something necessary is missing.
    #[error("{0}")]
    Contradiction(String),
}
