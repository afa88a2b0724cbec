//! The OpaqueString profile (RFC 8265 §4.2) over PRECIS's FreeformClass (RFC 8264 §4.3): how RFC 8489 wants
//! usernames, realms and passwords prepared before a key is derived from them (§9.2.2).
//!
//! A keyboard may write `é` as one character or as two; prepared, both are the same bytes. Characters that cannot be
//! seen or told apart are refused. Case and width are kept. Text in ASCII is taken as it is, without a look.
#![no_std]

extern crate alloc;

mod context;

use alloc::borrow::Cow;
use alloc::string::String;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Text has a character that the profile does not allow where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the character U+{:04X} is not allowed here (RFC 8265, OpaqueString)", u32::from(*character))]
pub struct NotAllowed {
    /// The character.
    pub character: char,
}

/// The text as two sides compare it and derive keys from it.
///
/// RFC 8265 §4.2.2: other spaces become U+0020, and the rest is brought into Normalization Form C.
pub fn prepare(text: &str) -> Result<Cow<'_, str>, NotAllowed> {
    if text.is_ascii() {
        return Ok(Cow::Borrowed(text));
    }
    check(text)?;
    let spaced = text.chars().map(|character| match character.general_category() {
        GeneralCategory::SpaceSeparator => ' ',
        _ => character,
    });
    let prepared: String = spaced.nfc().collect();
    if prepared == text {
        return Ok(Cow::Borrowed(text));
    }
    // A few characters become others that are not allowed at that place, and must not pass at the second try.
    check(&prepared)?;
    Ok(Cow::Owned(prepared))
}

fn check(text: &str) -> Result<(), NotAllowed> {
    let mut refused = text.char_indices().filter(|(at, character)| !is_allowed(text, *at, *character));
    refused.next().map_or(Ok(()), |(_, character)| Err(NotAllowed { character }))
}

/// Whether FreeformClass has a place for `character` at byte `at` of `text` (RFC 8264 §8): the order of the checks is
/// the RFC's, and the first that knows the character decides.
fn is_allowed(text: &str, at: usize, character: char) -> bool {
    if let Some(allowed) = context::rule(text, at, character) {
        return allowed;
    }
    if EXCEPTIONS.contains(&character) {
        return false;
    }
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    if is_old_hangul_jamo(character) || is_ignorable(character) {
        return false;
    }
    !matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

/// RFC 8264 §9.9.
fn is_old_hangul_jamo(character: char) -> bool {
    matches!(u32::from(character), 0x1100..=0x11FF | 0xA960..=0xA97C | 0xD7B0..=0xD7C6 | 0xD7CB..=0xD7FB)
}

/// RFC 8264 §9.13: Default_Ignorable_Code_Point. Those of category Cf or Cn that the property lists are refused by
/// their category; here stand the others.
fn is_ignorable(character: char) -> bool {
    matches!(
        u32::from(character),
        0x034F | 0x115F..=0x1160
            | 0x17B4..=0x17B5
            | 0x180B..=0x180F
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFFA0
            | 0xE0000..=0xE0FFF
    )
}

/// RFC 8264 §9.6: disallowed although their category would allow them.
const EXCEPTIONS: [char; 10] = [
    '\u{0640}', '\u{07FA}', '\u{302E}', '\u{302F}', '\u{3031}', '\u{3032}', '\u{3033}', '\u{3034}',
    '\u{3035}', '\u{303B}',
];

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn allowed(text: &str) -> bool {
        prepare(text).is_ok()
    }

    #[test]
    fn ascii_is_taken_as_it_is() {
        for text in ["", "alice", "a b", "~!@#$%^&*()", "tab\there"] {
            assert!(matches!(prepare(text), Ok(Cow::Borrowed(same)) if same == text), "{text:?}");
        }
    }

    #[test]
    fn one_letter_in_two_forms_becomes_the_same() {
        assert_eq!(prepare("zoe\u{308}"), Ok(Cow::Borrowed("zo\u{EB}")));
        assert_eq!(prepare("zo\u{EB}"), Ok(Cow::Borrowed("zo\u{EB}")));
        assert_eq!(prepare("\u{212B}"), Ok(Cow::Borrowed("\u{C5}")), "Ångström's sign is the letter");
    }

    #[test]
    fn case_and_width_are_kept() {
        for text in ["Zo\u{EB}", "\u{FF21}\u{FF22}", "\u{FB01}", "\u{3A3}"] {
            assert_eq!(prepare(text), Ok(Cow::Borrowed(text)));
        }
    }

    #[test]
    fn every_space_becomes_the_plain_one() {
        // RFC 8265 §4.3 has such an example with U+1680.
        for space in ['\u{A0}', '\u{1680}', '\u{2003}', '\u{202F}', '\u{3000}'] {
            assert_eq!(prepare(&format!("foo{space}bar")), Ok(Cow::Borrowed("foo bar")));
        }
    }

    #[test]
    fn people_write_in_their_scripts_and_with_symbols() {
        for text in
            ["\u{3C0}\u{DF}\u{E5}", "王小明", "пароль", "كلمة", "ひらがな", "한국어", "Jack of \u{2666}s"]
        {
            assert!(allowed(text), "{text}");
        }
        // Younger than the registry of Unicode 6.3, and on every telephone.
        assert!(allowed("🤖🥑🫠"));
    }

    #[test]
    fn what_cannot_be_seen_or_has_no_meaning_is_refused() {
        let refused = [
            "é\u{0}",
            "é\n",
            "é\u{7F}",
            "\u{85}",
            "\u{200B}",
            "\u{AD}",
            "\u{2028}",
            "\u{E000}",
            "\u{FDD0}",
            "\u{FFFF}",
            "\u{10FFFF}",
            "\u{FEFF}",
            "\u{202E}",
            "\u{FE0F}",
            "\u{3164}",
            "\u{E0100}",
            "\u{1100}",
            "\u{378}",
            "\u{640}",
            "\u{303B}",
            "\u{34F}",
        ];
        for text in refused {
            assert!(!allowed(text), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_character() {
        let refused = prepare("né\u{200B}").unwrap_err();
        assert_eq!(refused, NotAllowed { character: '\u{200B}' });
        assert!(format!("{refused}").contains("U+200B"));
    }

    #[test]
    fn preparing_twice_changes_nothing_more() {
        for character in
            ('\u{80}'..='\u{2FFF}').chain('\u{A000}'..='\u{D7FF}').chain('\u{F900}'..='\u{1FFFF}')
        {
            let text = format!("a{character}");
            if let Ok(once) = prepare(&text) {
                let twice = prepare(&once).unwrap_or_else(|error| panic!("{text:?}: {error}"));
                assert_eq!(once, twice);
            }
        }
    }
}
