//! Whether a server is held to be there. One lost answer ends nothing and one answer proves nothing, so that clients are
//! not sent to and fro with each packet that is lost; and whoever is gone for long is asked seldom.

use std::time::{Duration, Instant};

/// What is held of one server. At first that it is there: nobody is left out before he has failed.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    alive: bool,
    /// Answers in a row that speak against it.
    against: u32,
    /// Since how many answers in a row it is held to be gone.
    gone: u32,
    due: Instant,
}

impl Standing {
    pub(super) fn new(now: Instant) -> Self {
        Standing { alive: true, against: 0, gone: 0, due: now }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive
    }

    /// When it is to be asked.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It has answered or not; `interval` is how often one that is there is asked. Says what is held from now on, if that
    /// is something else.
    pub(super) fn note(&mut self, answers: bool, now: Instant, interval: Duration) -> Option<bool> {
        self.gone = if answers || self.alive { 0 } else { self.gone.saturating_add(1) };
        if answers == self.alive {
            self.against = 0;
            self.due = now + self.pause(interval);
            return None;
        }
        self.against += 1;
        let enough = if self.alive { FAILURES } else { ANSWERS };
        if self.against < enough {
            self.due = now + interval.min(SOON);
            return None;
        }
        self.against = 0;
        self.alive = answers;
        self.due = now + self.pause(interval);
        Some(answers)
    }

    /// Until it is asked again: ever longer while it is gone.
    fn pause(&self, interval: Duration) -> Duration {
        if self.alive {
            return interval;
        }
        (interval.min(SOON) * 2_u32.pow(self.gone.min(10))).min(LONGEST.max(interval))
    }
}

/// So many times in a row no answer is no server.
const FAILURES: u32 = 3;
/// So many answers in a row are a server.
const ANSWERS: u32 = 2;
/// How soon what is in doubt is asked again.
const SOON: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[test]
    fn it_takes_three_failures_to_go_and_two_answers_to_come_back() {
        let now = Instant::now();
        let mut standing = Standing::new(now);
        let mut note = |answers| standing.note(answers, now, INTERVAL);
        assert_eq!([note(false), note(false), note(true)], [None; 3], "it has come back in time");
        assert_eq!([note(false), note(false), note(false)], [None, None, Some(false)]);
        assert_eq!([note(false), note(true), note(false)], [None; 3], "one answer is not enough");
        assert_eq!([note(true), note(true)], [None, Some(true)]);
        assert!(standing.is_alive());
    }

    #[test]
    fn who_is_in_doubt_is_asked_soon_and_who_is_gone_ever_more_seldom() {
        let mut now = Instant::now();
        let mut standing = Standing::new(now);
        let mut pause = |answers| {
            standing.note(answers, now, INTERVAL);
            let pause = standing.due() - now;
            now = standing.due();
            pause.as_secs()
        };
        assert_eq!([pause(true), pause(true)], [5, 5]);
        assert_eq!([pause(false), pause(false)], [1, 1]);
        let gone: Vec<u64> = (0..8).map(|_| pause(false)).collect();
        assert_eq!(gone, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!([pause(true), pause(true), pause(true)], [1, 5, 5]);
    }
}
