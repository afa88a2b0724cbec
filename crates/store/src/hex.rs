//! Keys as they are stored: lower-case hexadecimal digits.

/// The digits of some bytes.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of exactly as many digits, in either case.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(bytes)
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_back_as_the_bytes_they_were_and_nothing_else_is_taken() {
        assert_eq!(encode(&[0x00, 0x9f, 0xA0]), "009fa0");
        assert_eq!(decode::<3>("009fA0"), Some([0x00, 0x9f, 0xA0]));
        for wrong in ["", "009f", "009fa", "009fa00", "009fag", "0 9fa0", "+09fa0", "é9fa0"] {
            assert_eq!(decode::<3>(wrong), None, "{wrong}");
        }
    }
}
