//! In which order clients are dealt out to servers that have different things to do.
//!
//! To send everybody to the one that has the least to do would fill that one before it is asked again. So the clients to
//! come are dealt out beforehand, each to the server that has the least to do with those it got before. The list that
//! comes of it is gone through in order, by the workers who know nothing of loads.

use super::capacity::Load;

/// Which server each of the next clients is sent to, by its place in `loads`; `None` is one that does not say.
pub(super) fn deal(loads: &[Option<Load>]) -> Vec<usize> {
    let known: Vec<(f64, f64)> = loads.iter().flatten().map(|load| (load.fullness(), load.step())).collect();
    if known.is_empty() {
        return (0..loads.len()).collect();
    }
    // Who does not say is taken to be as the others are together.
    let count = known.len() as f64;
    let mean = known.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0 / count, sum.1 + one.1 / count));
    let mut full: Vec<(f64, f64)> =
        loads.iter().map(|load| load.map_or(mean, |load| (load.fullness(), load.step()))).collect();
    let mut dealt = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let least = full.iter().enumerate().min_by(|(_, one), (_, other)| one.0.total_cmp(&other.0));
        let Some(least) = least.map(|(index, _)| index) else { break };
        full[least].0 += full[least].1;
        dealt.push(least);
    }
    dealt
}

/// Clients that are dealt out at once; then it begins anew.
const CLIENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn load(load: f64, allocations: u64, most: u64) -> Option<Load> {
        Some(Load { load, allocations, most, draining: false })
    }

    fn shares(loads: &[Option<Load>]) -> Vec<usize> {
        let dealt = deal(loads);
        (0..loads.len()).map(|server| dealt.iter().filter(|index| **index == server).count()).collect()
    }

    #[test]
    fn servers_that_have_as_much_to_do_take_turns() {
        assert_eq!(deal(&[load(0.0, 0, 1000), load(0.0, 0, 1000)])[..4], [0, 1, 0, 1]);
        assert_eq!(deal(&[None, None, None]), [0, 1, 2], "and so do those of whom nothing is known");
        assert_eq!(deal(&[]), [] as [usize; 0]);
    }

    #[test]
    fn a_server_that_is_behind_catches_up_first() {
        let dealt = deal(&[load(0.01, 10, 1000), load(0.0, 0, 1000)]);
        assert!(dealt[..10].iter().all(|server| *server == 1), "{dealt:?}");
        assert_eq!(dealt[10..].iter().filter(|server| **server == 0).count(), 27);
    }

    #[test]
    fn a_larger_server_gets_more_and_a_full_one_nothing() {
        assert_eq!(shares(&[load(0.0, 0, 3000), load(0.0, 0, 1000)]), [48, 16]);
        assert_eq!(shares(&[load(1.0, 1000, 1000), load(0.2, 200, 1000)]), [0, 64]);
    }

    #[test]
    fn who_does_not_say_is_taken_for_one_like_the_others() {
        let shares = shares(&[load(0.1, 100, 1000), None, load(0.3, 300, 1000)]);
        assert!(shares[0] > shares[1] && shares[1] >= shares[2], "{shares:?}");
    }
}
