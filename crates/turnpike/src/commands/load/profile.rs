//! What a load consists of.

/// What to do to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// Voice: small packets at an even pace.
    Audio,
    /// Pictures: large packets in bursts.
    Video,
    /// Each call carries voice and pictures.
    Mixed,
    /// Allocations that come and go.
    Churn,
    /// Binding requests.
    Binding,
}

/// Packets of one kind that a call sends each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stream {
    /// Bytes of each packet's payload.
    pub(super) payload: usize,
    /// Packets sent back to back.
    pub(super) burst: u32,
    /// Of these, how many a second.
    pub(super) bursts_per_second: f64,
}

impl Profile {
    /// All of them by name.
    pub(super) const ALL: [(&'static str, Profile); 5] = [
        ("audio", Profile::Audio),
        ("video", Profile::Video),
        ("mixed", Profile::Mixed),
        ("churn", Profile::Churn),
        ("binding", Profile::Binding),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Profile::ALL.iter().find(|(known, _)| *known == name).map(|(_, profile)| *profile)
    }

    pub(super) fn name(self) -> &'static str {
        Profile::ALL.iter().find(|(_, profile)| *profile == self).map_or("", |(name, _)| name)
    }

    /// Whether it keeps calls up and sends through them.
    pub(super) fn has_media(self) -> bool {
        matches!(self, Profile::Audio | Profile::Video | Profile::Mixed)
    }

    /// What each call sends, each way.
    pub(super) fn streams(self) -> Vec<Stream> {
        match self {
            Profile::Audio => vec![AUDIO],
            Profile::Video => vec![VIDEO],
            Profile::Mixed => vec![AUDIO, VIDEO],
            Profile::Churn | Profile::Binding => Vec::new(),
        }
    }

    /// What is counted, apart from each other.
    pub(super) fn series(self) -> &'static [&'static str] {
        match self {
            Profile::Audio | Profile::Video | Profile::Mixed => &["client to peer", "peer to client"],
            Profile::Churn => &["allocate", "channel bind", "refresh", "delete"],
            Profile::Binding => &["binding"],
        }
    }

    /// What the load is measured in.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Profile::Audio | Profile::Video | Profile::Mixed => "calls",
            Profile::Churn => "cycles/s",
            Profile::Binding => "requests/s",
        }
    }

    /// What is counted as sent and received.
    pub(super) fn items(self) -> &'static str {
        if self.has_media() { "packets" } else { "requests" }
    }

    /// The load of a run when nobody says otherwise.
    pub(super) fn usual_level(self) -> u32 {
        match self {
            Profile::Audio => 100,
            Profile::Video | Profile::Mixed => 20,
            Profile::Churn => 100,
            Profile::Binding => 2000,
        }
    }

    /// The first step of a search for the knee.
    pub(super) fn first_level(self) -> u32 {
        match self {
            Profile::Audio => 50,
            Profile::Video | Profile::Mixed => 10,
            Profile::Churn => 50,
            Profile::Binding => 1000,
        }
    }
}

impl Stream {
    /// Nanoseconds between two bursts.
    pub(super) fn period(&self) -> u64 {
        ((1e9 / self.bursts_per_second) as u64).max(1)
    }

    /// Packets a second.
    pub(super) fn packets_per_second(&self) -> f64 {
        self.bursts_per_second * f64::from(self.burst)
    }

    /// The same with other sizes or another pace, where asked for.
    #[must_use]
    pub(super) fn with(mut self, payload: Option<usize>, packets_per_second: Option<f64>) -> Self {
        self.payload = payload.unwrap_or(self.payload);
        if let Some(rate) = packets_per_second {
            self.bursts_per_second = rate / f64::from(self.burst);
        }
        self
    }
}

/// A packet every 20 ms, as Opus and G.711 have them: 64 kbit/s.
const AUDIO: Stream = Stream { payload: 160, burst: 1, bursts_per_second: 50.0 };
/// 25 pictures a second of eight packets each: 1.9 Mbit/s.
const VIDEO: Stream = Stream { payload: 1200, burst: 8, bursts_per_second: 25.0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name() {
        for (name, profile) in Profile::ALL {
            assert_eq!(Profile::named(name), Some(profile));
            assert_eq!(profile.name(), name);
            assert_eq!(profile.has_media(), !profile.streams().is_empty());
        }
        assert_eq!(Profile::named("vide"), None);
    }

    #[test]
    fn another_pace_keeps_the_bursts() {
        let stream = VIDEO.with(Some(600), Some(400.0));
        assert_eq!((stream.payload, stream.burst), (600, 8));
        assert!((stream.packets_per_second() - 400.0).abs() < 1e-9);
        assert_eq!(stream.period(), 20_000_000);
    }
}
