//! An exact LRU cache, simulated over a trace: what a cache of that size could have hit. It shares no code with the
//! cache it judges.

use std::collections::{BTreeMap, HashMap};

/// How much the simulated cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// So many entries.
    Items(usize),
    /// So many bytes, each entry taking its key, its value and `overhead` bytes.
    Bytes {
        /// Bytes in all.
        total: usize,
        /// Bytes an entry costs beside its key and value.
        overhead: usize,
    },
}

/// What the simulation counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests replayed.
    pub requests: u64,
    /// Requests that found their key.
    pub hits: u64,
}

impl Outcome {
    /// Hits a request, 0 where there was none.
    pub fn hit_ratio(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.hits as f64 / self.requests as f64 }
    }
}

/// Replays `(key, value size in bytes)` requests: get, and on a miss set, evicting the least recently used. An entry
/// larger than the whole cache is not stored.
pub fn simulate<K: AsRef<str>>(
    requests: impl IntoIterator<Item = (K, usize)>,
    capacity: Capacity,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut used = 0;
    // A key's last use and cost, and the keys by last use: O(log n), but plain to see right.
    let mut entries: HashMap<String, (u64, usize)> = HashMap::new();
    let mut by_use: BTreeMap<u64, String> = BTreeMap::new();
    let total = match capacity {
        Capacity::Items(total) | Capacity::Bytes { total, .. } => total,
    };
    let cost_of = |key: &str, size: usize| match capacity {
        Capacity::Items(_) => 1,
        Capacity::Bytes { overhead, .. } => key.len() + size + overhead,
    };
    for (key, size) in requests {
        let key = key.as_ref();
        outcome.requests += 1;
        let now = outcome.requests;
        if let Some((last_use, _)) = entries.get_mut(key) {
            outcome.hits += 1;
            if let Some(name) = by_use.remove(last_use) {
                by_use.insert(now, name);
            }
            *last_use = now;
            continue;
        }
        let cost = cost_of(key, size);
        if cost > total {
            continue;
        }
        while used + cost > total {
            let Some((_, oldest)) = by_use.pop_first() else { break };
            used -= entries.remove(&oldest).map_or(0, |(_, cost)| cost);
        }
        used += cost;
        by_use.insert(now, key.to_owned());
        entries.insert(key.to_owned(), (now, cost));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(keys: &str, capacity: Capacity) -> u64 {
        simulate(keys.split(' ').map(|key| (key, 10)), capacity).hits
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        assert_eq!(hits("a b a c a b", Capacity::Items(2)), 2);
        assert_eq!(hits("a b c a b c", Capacity::Items(2)), 0);
        assert_eq!(hits("a b c a b c", Capacity::Items(3)), 3);
        assert_eq!(hits("a a a", Capacity::Items(0)), 0);
    }

    #[test]
    fn bytes_count_key_value_and_overhead() {
        assert_eq!(hits("a b a b", Capacity::Bytes { total: 30, overhead: 4 }), 2);
        assert_eq!(hits("a b a b", Capacity::Bytes { total: 29, overhead: 4 }), 0);
        let requests = [("big", 100), ("a", 1), ("big", 100), ("a", 1)];
        assert_eq!(simulate(requests, Capacity::Bytes { total: 50, overhead: 0 }).hits, 1);
    }
}
