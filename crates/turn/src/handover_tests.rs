use super::*;

#[test]
fn garbage_is_refused_and_never_panics() {
    assert_eq!(parse(b"").err(), Some(EstateError::Damaged));
    assert_eq!(parse(b"TPKVALUE").err(), Some(EstateError::Damaged));
    assert_eq!(parse(b"TPKVALUE\0\x02whatever").err(), Some(EstateError::Version(2)));
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for length in 0..2000_usize {
        let mut bytes = MAGIC.to_vec();
        HANDOVER_VERSION.write(&mut bytes);
        for _ in 0..length {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly small numbers, so that lists go deep.
            bytes.push(if state >> 62 == 0 { (state >> 40) as u8 } else { (state >> 40) as u8 & 3 });
        }
        let _ = parse(&bytes);
    }
}
