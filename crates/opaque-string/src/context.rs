//! Characters that are allowed only between certain others (RFC 8264 §9.6 and §9.8, by the rules of RFC 5892
//! Appendix A).

use unicode_joining_type::{JoiningType, get_joining_type};
use unicode_normalization::char::canonical_combining_class;
use unicode_script::{Script, UnicodeScript};

/// Whether `character` at byte `at` of `text` may stand there; `None` for a character without such a rule.
pub(crate) fn rule(text: &str, at: usize, character: char) -> Option<bool> {
    let before = || text.get(..at)?.chars().next_back();
    let after = || text.get(at + character.len_utf8()..)?.chars().next();
    let has = |first, last| text.chars().any(|other| (first..=last).contains(&other));
    Some(match character {
        '\u{200C}' => before().is_some_and(is_virama) || joins(text, at, character),
        '\u{200D}' => before().is_some_and(is_virama),
        '\u{B7}' => before() == Some('l') && after() == Some('l'),
        '\u{375}' => after().is_some_and(|next| next.script() == Script::Greek),
        '\u{5F3}' | '\u{5F4}' => before().is_some_and(|last| last.script() == Script::Hebrew),
        '\u{30FB}' => text.chars().any(is_japanese),
        // The two rows of Arabic digits look alike and must not be mixed.
        '\u{660}'..='\u{669}' => !has('\u{6F0}', '\u{6F9}'),
        '\u{6F0}'..='\u{6F9}' => !has('\u{660}', '\u{669}'),
        _ => return None,
    })
}

fn is_virama(character: char) -> bool {
    canonical_combining_class(character) == VIRAMA
}

/// Whether letters that would join stand on both sides, marks left out (RFC 5892 A.1).
fn joins(text: &str, at: usize, character: char) -> bool {
    let visible = |other: &char| get_joining_type(*other) != JoiningType::Transparent;
    let before = text.get(..at).and_then(|before| before.chars().rev().find(visible));
    let after = text.get(at + character.len_utf8()..).and_then(|after| after.chars().find(visible));
    let to_the_left =
        |other| matches!(get_joining_type(other), JoiningType::LeftJoining | JoiningType::DualJoining);
    let to_the_right =
        |other| matches!(get_joining_type(other), JoiningType::RightJoining | JoiningType::DualJoining);
    before.is_some_and(to_the_left) && after.is_some_and(to_the_right)
}

fn is_japanese(character: char) -> bool {
    matches!(character.script(), Script::Hiragana | Script::Katakana | Script::Han)
}

/// Canonical_Combining_Class of a virama.
const VIRAMA: u8 = 9;

#[cfg(test)]
mod tests {
    use crate::prepare;

    #[test]
    fn characters_with_a_rule_are_allowed_where_the_rule_says_and_nowhere_else() {
        let rules = [
            ("l\u{B7}l", "a\u{B7}l"),
            ("\u{375}\u{3B1}", "\u{375}a"),
            ("\u{5D0}\u{5F3}", "a\u{5F3}"),
            ("\u{5D0}\u{5F4}", "\u{5F4}\u{5D0}"),
            ("\u{30A2}\u{30FB}", "a\u{30FB}b"),
            ("\u{660}\u{661}", "\u{660}\u{6F1}"),
            ("\u{6F0}", "\u{6F0}\u{669}"),
            // Between letters of Devanagari after a virama, and of Persian.
            ("\u{915}\u{94D}\u{200D}\u{937}", "\u{915}\u{200D}\u{937}"),
            ("\u{915}\u{94D}\u{200C}\u{937}", "a\u{200C}b"),
            ("\u{645}\u{6CC}\u{200C}\u{62E}", "\u{62F}\u{200C}\u{62E}"),
        ];
        for (right, wrong) in rules {
            assert!(prepare(right).is_ok(), "{right:?}");
            assert!(prepare(wrong).is_err(), "{wrong:?}");
        }
    }
}
