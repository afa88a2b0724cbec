//! Numbers as people read them.

use std::time::Duration;

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `20 calls`, `100 cycles/s`.
pub(super) fn amount(number: u32, unit: &str) -> String {
    let unit = if number == 1 && unit == "calls" { "call" } else { unit };
    format!("{} {unit}", count(u64::from(number)))
}

/// `0.31 ms`, `12 µs`, `1.20 s`; a dash for nothing.
pub(super) fn duration(time: Option<Duration>) -> String {
    let Some(time) = time else { return "–".to_owned() };
    let microseconds = time.as_secs_f64() * 1e6;
    match microseconds {
        ..9.95 => format!("{microseconds:.1} µs"),
        ..99.5 => format!("{microseconds:.0} µs"),
        ..9_995.0 => format!("{:.2} ms", microseconds / 1e3),
        ..99_950.0 => format!("{:.1} ms", microseconds / 1e3),
        ..999_500.0 => format!("{:.0} ms", microseconds / 1e3),
        _ => format!("{:.2} s", microseconds / 1e6),
    }
}

/// `0 %`, `0.02 %`, `12 %`: a share of 0 to 1. What is not nothing never reads as nothing.
pub(crate) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    match hundredths {
        0.0 => "0 %".to_owned(),
        ..0.005 => "< 0.01 %".to_owned(),
        ..9.995 => format!("{hundredths:.2} %"),
        _ => format!("{hundredths:.1} %"),
    }
}

/// `1.2 Mbit/s`.
pub(crate) fn bits(per_second: f64) -> String {
    match per_second {
        ..1e6 => format!("{:.0} kbit/s", per_second / 1e3),
        ..99.95e6 => format!("{:.1} Mbit/s", per_second / 1e6),
        ..1e9 => format!("{:.0} Mbit/s", per_second / 1e6),
        _ => format!("{:.2} Gbit/s", per_second / 1e9),
    }
}

/// `1.4 MB`.
pub(crate) fn bytes(number: u64) -> String {
    match number {
        ..1_048_576 => format!("{} kB", number / 1024),
        _ => format!("{:.1} MB", number as f64 / 1_048_576.0),
    }
}

/// `30 s`, `2 min 5 s`.
pub(super) fn seconds(number: f64) -> String {
    match number {
        ..9.95 if number.fract().abs() > 0.05 => format!("{number:.1} s"),
        ..120.0 => format!("{number:.0} s"),
        _ => format!("{:.0} min {:.0} s", (number / 60.0).floor(), number % 60.0),
    }
}

/// The verb that goes with a number.
pub(super) fn were(number: u32) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_at_any_size() {
        assert_eq!(
            [amount(1, "calls"), amount(2000, "calls"), amount(1, "cycles/s")],
            ["1 call", "2,000 calls", "1 cycles/s"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let times = [1_234, 12_345, 123_456, 12_345_678, 123_456_789, 1_234_567_890];
        let expected = ["1.2 µs", "12 µs", "0.12 ms", "12.3 ms", "123 ms", "1.23 s"];
        assert_eq!(times.map(|time| duration(Some(Duration::from_nanos(time)))), expected);
        assert_eq!(duration(None), "–");
        let expected = ["64 kbit/s", "6.4 Mbit/s", "640 Mbit/s", "1.28 Gbit/s"];
        assert_eq!([64_000.0, 6.4e6, 640e6, 1.28e9].map(bits), expected);
        assert_eq!([512 * 1024, 20 << 20].map(bytes), ["512 kB", "20.0 MB"]);
        assert_eq!([0.7, 30.0, 125.0].map(seconds), ["0.7 s", "30 s", "2 min 5 s"]);
    }

    #[test]
    fn a_little_loss_never_reads_as_none() {
        assert_eq!([0.0, 0.000_001, 0.0002, 0.125].map(percent), ["0 %", "< 0.01 %", "0.02 %", "12.5 %"]);
    }
}
