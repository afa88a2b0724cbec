//! Where the program is to run.

use std::fmt;
use std::str::FromStr;

/// What the operator wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// XDP where all interfaces have a driver that supports it, else tc, else user space alone.
    Auto,
    /// XDP, else user space alone.
    Xdp,
    /// tc, else user space alone.
    Tc,
    /// User space alone.
    #[default]
    Off,
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// In the driver, before the kernel has made anything of a packet.
    Xdp,
    /// At the beginning of the kernel's own receive path: on every device.
    Tc,
}

impl Point {
    /// The first version of Linux that can run the program there.
    pub fn oldest_kernel(self) -> (u32, u32) {
        match self {
            // Compare-and-swap in programs.
            Point::Xdp => (5, 12),
            // Attaching by a descriptor alone.
            Point::Tc => (6, 6),
        }
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Mode::Auto),
            "xdp" => Ok(Mode::Xdp),
            "tc" => Ok(Mode::Tc),
            "off" => Ok(Mode::Off),
            _ => Err("one of auto, xdp, tc, off"),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Mode::Auto => "auto",
            Mode::Xdp => "xdp",
            Mode::Tc => "tc",
            Mode::Off => "off",
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Point::Xdp => "XDP",
            Point::Tc => "tc",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_read_as_it_is_written() {
        for mode in [Mode::Auto, Mode::Xdp, Mode::Tc, Mode::Off] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("XDP".parse::<Mode>().is_err() && "".parse::<Mode>().is_err());
    }
}
