//! Whether what clients saw of one key could have come from one register.
//!
//! Every write of a key carries a value of its own, so each read names the write that it saw. Then a history is
//! linearizable exactly if no read ended before its write began, the zones of no two values that were passed on overlap,
//! and no value that came and went within a moment lies inside such a zone (Gibbons and Korach, "Testing Shared
//! Memories", 1997). O(n log n).

use std::collections::HashMap;

/// When an operation whose outcome is not known ends: perhaps never.
pub const UNKNOWN: u64 = u64::MAX;

/// The value of a key that was never written.
pub const INITIAL: u64 = 0;

/// One operation on one key, its times from one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// When it was sent.
    pub start: u64,
    /// When its answer came, or [`UNKNOWN`]. Reads without an answer are left out.
    pub end: u64,
    /// Whether it wrote.
    pub is_write: bool,
    /// The value written or read: unique for each write, deletes included.
    pub value: u64,
}

/// Everything about one value: from the first moment at which it is known to have been there to the last.
struct Cluster {
    first_end: u64,
    last_start: u64,
    write: Option<Operation>,
    was_read: bool,
}

/// Checks the operations on one key.
///
/// # Errors
/// Says which values contradict each other, and how.
pub fn check(operations: &[Operation]) -> Result<(), String> {
    let clusters = clusters(operations);
    check_reads(operations, &clusters)?;
    check_zones(&clusters)
}

/// Checks the operations on one key of which some were swaps: each pair is the value that a swap replaced and the value that
/// it wrote, and nothing may have come between the two.
///
/// A chain of swaps is one block, so it is checked as if all its values were one.
///
/// # Errors
/// Says which values contradict each other, and how.
pub fn check_with_swaps(operations: &[Operation], swaps: &[(u64, u64)]) -> Result<(), String> {
    check(operations)?;
    let replaced: HashMap<u64, u64> = swaps.iter().map(|(before, after)| (*after, *before)).collect();
    let first_of_chain = |mut value: u64| {
        while let Some(before) = replaced.get(&value) {
            value = *before;
        }
        value
    };
    let block = |operation: &Operation| Operation { value: first_of_chain(operation.value), ..*operation };
    let blocks: Vec<Operation> = operations.iter().map(block).collect();
    check_zones(&clusters(&blocks)).map_err(|why| format!("between the two halves of a swap: {why}"))
}

fn check_zones(clusters: &HashMap<u64, Cluster>) -> Result<(), String> {
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for (value, cluster) in clusters {
        let may_not_have_happened = cluster.write.is_some_and(|write| write.end == UNKNOWN);
        if may_not_have_happened && !cluster.was_read {
            continue;
        }
        if cluster.first_end < cluster.last_start {
            forward.push((cluster.first_end, cluster.last_start, *value));
        } else {
            backward.push((cluster.last_start, cluster.first_end, *value));
        }
    }
    forward.sort_unstable();
    for pair in forward.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(format!(
                "value {} was read after value {} was there, and the other way round",
                pair[0].2, pair[1].2
            ));
        }
    }
    for (low, high, value) in backward {
        let before = forward.partition_point(|zone| zone.0 <= low);
        if let Some(zone) = before.checked_sub(1).map(|at| forward[at])
            && zone.0 < low
            && high < zone.1
        {
            return Err(format!("value {} was still read after value {value} had replaced it", zone.2));
        }
    }
    Ok(())
}

fn clusters(operations: &[Operation]) -> HashMap<u64, Cluster> {
    let start = Operation { start: 0, end: 0, is_write: true, value: INITIAL };
    let initial = Cluster { first_end: 0, last_start: 0, write: Some(start), was_read: true };
    let mut clusters = HashMap::from([(INITIAL, initial)]);
    for operation in operations {
        let cluster = clusters.entry(operation.value).or_insert(Cluster {
            first_end: UNKNOWN,
            last_start: 0,
            write: None,
            was_read: false,
        });
        if operation.is_write {
            // Of a block of several writes the first known one stands for all.
            let known = cluster.write.filter(|write| write.end != UNKNOWN);
            cluster.write = Some(known.unwrap_or(*operation));
        } else {
            cluster.was_read = true;
        }
        cluster.first_end = cluster.first_end.min(operation.end);
        cluster.last_start = cluster.last_start.max(operation.start);
    }
    clusters
}

fn check_reads(operations: &[Operation], clusters: &HashMap<u64, Cluster>) -> Result<(), String> {
    for read in operations.iter().filter(|operation| !operation.is_write) {
        match clusters[&read.value].write {
            None => return Err(format!("value {} was read and never written", read.value)),
            Some(write) if read.end < write.start => {
                return Err(format!("value {} was read before it was written", read.value));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(start: u64, end: u64, value: u64) -> Operation {
        Operation { start, end, is_write: true, value }
    }

    fn read(start: u64, end: u64, value: u64) -> Operation {
        Operation { start, end, is_write: false, value }
    }

    #[test]
    fn reads_after_their_writes_are_fine() {
        assert_eq!(check(&[write(1, 2, 7), read(3, 4, 7), write(5, 6, 8), read(7, 8, 8)]), Ok(()));
        assert_eq!(check(&[read(1, 2, INITIAL), write(1, 5, 7), read(3, 4, 7)]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(check(&[write(1, 2, 7), write(3, 4, 8), read(5, 6, 7)]).is_err());
        assert!(check(&[write(1, 2, 7), read(3, 4, INITIAL)]).is_err());
    }

    #[test]
    fn two_reads_that_go_back_in_time_are_found() {
        let overlapping = [write(1, 2, 7), write(3, UNKNOWN, 8), read(4, 5, 8), read(6, 7, 7)];
        assert!(check(&overlapping).is_err());
    }

    #[test]
    fn a_delete_that_nobody_read_still_counts() {
        assert!(check(&[write(1, 2, 7), write(3, 4, 99), read(5, 6, 7)]).is_err());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_show_or_not() {
        assert_eq!(check(&[write(1, 2, 7), write(3, UNKNOWN, 8), read(5, 6, 7)]), Ok(()));
        assert_eq!(check(&[write(1, 2, 7), write(3, UNKNOWN, 8), read(5, 6, 7), read(7, 8, 8)]), Ok(()));
    }

    #[test]
    fn a_write_between_the_halves_of_a_swap_is_found() {
        let between = [write(1, 2, 7), write(3, 6, 8), write(4, 5, 9), read(7, 8, 9)];
        assert_eq!(check(&between), Ok(()));
        let overwritten = [write(1, 2, 7), write(3, 4, 8), write(5, 6, 9), read(7, 8, 9)];
        assert_eq!(check_with_swaps(&overwritten, &[(7, 8)]), Ok(()));
        assert!(check_with_swaps(&overwritten, &[(7, 9)]).is_err());
    }

    #[test]
    fn a_value_out_of_nowhere_is_found() {
        assert!(check(&[read(1, 2, 5)]).is_err());
        assert!(check(&[read(1, 2, 5), write(3, 4, 5)]).is_err());
    }
}
