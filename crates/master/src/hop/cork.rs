//! When what gathers on a [`Lane`](super::lane::Lane) leaves. Pure.
//!
//! Requests that leave together cost one send and one receive on either side. Two rules make more of them leave together:
//!
//! - *Nagle's* (RFC 896, for batches in place of segments): a batch waits for the answers to the one before. Answers come in the order
//!   of the requests, so what leaves earlier is answered after those anyway: to wait costs one trip to the node and back at
//!   most, however slow the node is. Only where that trip is short: in one rack, not between zones.
//! - *One more look*: where batches have more than one request, the sockets are looked at once more before one leaves. A lone client
//!   does not pay for that.

use super::lane::Gathered;

/// The longest trip to a node and back for which a batch waits, in microseconds.
const SHORT_TRIP_US: u64 = 200;

/// So many bytes are worth sending by themselves.
const FULL_BATCH_BYTES: usize = 16 * 1024;

/// Decides when a batch leaves.
#[derive(Debug)]
pub(super) struct Cork {
    /// When the oldest batch without an answer left.
    left_us: Option<u64>,
    /// The shortest trip of late, in microseconds: what a busy node takes longer is no part of the trip.
    trip_us: u64,
    /// Requests in the last batch.
    last_calls: usize,
}

impl Default for Cork {
    fn default() -> Self {
        Self { left_us: None, trip_us: u64::MAX, last_calls: 0 }
    }
}

impl Cork {
    /// Whether what has gathered waits for the answers to what is under way.
    pub(super) fn holds(&self, gathered: Gathered) -> bool {
        gathered.under_way > 0 && gathered.bytes < FULL_BATCH_BYTES && self.trip_us <= SHORT_TRIP_US
    }

    /// Whether to look at the sockets once more before a batch leaves.
    pub(super) fn looks_again(&self) -> bool {
        self.last_calls > 1
    }

    /// A batch of `calls` leaves.
    pub(super) fn sent(&mut self, calls: usize, now_us: u64) {
        self.last_calls = calls;
        self.left_us.get_or_insert(now_us);
    }

    /// Answers have come.
    pub(super) fn heard(&mut self, now_us: u64) {
        if let Some(left_us) = self.left_us.take() {
            let grown = self.trip_us.saturating_add(self.trip_us / 64 + 1);
            self.trip_us = grown.min(now_us.saturating_sub(left_us));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_trips(trips_us: &[u64]) -> Cork {
        let mut cork = Cork::default();
        for &trip_us in trips_us {
            cork.sent(1, 1_000);
            cork.heard(1_000 + trip_us);
        }
        cork
    }

    fn holds(cork: &Cork) -> bool {
        cork.holds(Gathered { bytes: 100, under_way: 1 })
    }

    #[test]
    fn requests_wait_for_answers_under_way_where_the_trip_is_short() {
        let near = after_trips(&[SHORT_TRIP_US]);
        assert!(holds(&near));
        assert!(!near.holds(Gathered { bytes: 100, under_way: 0 }), "there is no answer to wait for");
        assert!(
            !near.holds(Gathered { bytes: FULL_BATCH_BYTES, under_way: 1 }),
            "there is enough for a batch"
        );
        assert!(!holds(&after_trips(&[SHORT_TRIP_US + 1])));
        assert!(!holds(&Cork::default()), "nothing is known of the trip");
    }

    #[test]
    fn a_node_that_is_busy_now_and_then_is_not_far() {
        assert!(holds(&after_trips(&[50, 5_000, 50_000, 70])));
    }

    #[test]
    fn a_node_that_has_become_far_is_noticed() {
        let mut trips = vec![50];
        trips.extend([1_000; 100]);
        assert!(!holds(&after_trips(&trips)));
    }

    #[test]
    fn a_trip_is_counted_from_the_oldest_batch_without_an_answer() {
        let mut cork = Cork::default();
        cork.sent(1, 1_000);
        cork.sent(1, 1_900);
        cork.heard(2_000);
        assert!(!holds(&cork));
    }

    #[test]
    fn a_lone_client_does_not_pay_for_another_look() {
        let mut cork = Cork::default();
        cork.sent(1, 0);
        assert!(!cork.looks_again());
        cork.sent(2, 0);
        assert!(cork.looks_again());
    }
}
