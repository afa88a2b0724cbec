//! Words that programs read: each with what it means, in one table that is documented, and compared with its
//! documentation by a test. Words are never changed or given another meaning.

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal, $meaning:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The word in the log.
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($name::$variant => $meaning,)*
                }
            }
        }
    };
}

pub(crate) use vocabulary;

/// The rows of the table under this heading of a page, of two columns of which the first is code.
#[cfg(test)]
pub(crate) fn documented<'p>(page: &'p str, heading: &str) -> Vec<(&'p str, &'p str)> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect(heading);
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let row = |line: &'p str| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | ");
    section.lines().filter_map(row).collect()
}
