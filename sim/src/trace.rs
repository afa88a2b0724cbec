//! What happened, as a number to compare runs by and, if wanted, as text.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash, Hasher};

/// Records a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: DefaultHasher,
    printed: bool,
}

impl Trace {
    /// `printed` traces go to standard output as well.
    pub(crate) fn new(printed: bool) -> Self {
        Trace { hasher: DefaultHasher::new(), printed }
    }

    /// Records something; `text` is called only if it is printed.
    pub(crate) fn record<T: Display>(&mut self, value: &impl Hash, text: impl FnOnce() -> T) {
        value.hash(&mut self.hasher);
        if self.printed {
            println!("{}", text());
        }
    }

    /// A number that is equal for equal runs only.
    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
