//! The roster as text, and what makes such a text one of ours.

use crate::{Roster, Seat, View};

/// Numbers above are not exact in Redis' Lua, and nothing that counts changes gets there.
const MAX_NUMBER: u64 = 1 << 53;

/// The roster as JSON.
pub(super) fn write(roster: &Roster) -> Result<String, serde_json::Error> {
    serde_json::to_string(roster)
}

/// Reads a roster that anybody may have written.
pub(super) fn read(text: &[u8]) -> Result<Roster, String> {
    let roster: Roster =
        serde_json::from_slice(text).map_err(|error| format!("it is no roster ({error})"))?;
    if roster.revision() > MAX_NUMBER || roster.epoch() > MAX_NUMBER {
        return Err("its revision or epoch is too large".to_owned());
    }
    check(roster.base().iter())?;
    check(roster.members().iter().map(|member| &member.seat))?;
    Ok(roster)
}

fn check<'a>(seats: impl Iterator<Item = &'a Seat> + Clone) -> Result<(), String> {
    if !seats.clone().is_sorted_by(|left, right| left.node.name < right.node.name) {
        return Err("its nodes are not in order of their names".to_owned());
    }
    View::new(seats.map(|seat| seat.node.clone())).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Node};

    fn text() -> String {
        let nodes = ["a", "b"].map(|name| Node::new(name, format!("{name}:1")));
        write(&Roster::fixed(nodes, Layout { replicas: 2, virtual_nodes: 8 })).unwrap()
    }

    #[test]
    fn a_roster_is_read_as_it_was_written() {
        assert_eq!(write(&read(text().as_bytes()).unwrap()).unwrap(), text());
    }

    #[test]
    fn what_would_break_a_node_is_no_roster() {
        let reason = |from: &str, to: &str| {
            let text = text();
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            read(changed.as_bytes()).unwrap_err()
        };
        assert!(reason("\"revision\":1", "\"revision\":18446744073709551615").contains("too large"));
        assert!(reason("\"epoch\":1", "\"epoch\":18446744073709551615").contains("too large"));
        assert!(reason("\"name\":\"b\"", "\"name\":\"a\"").contains("not in order"));
        assert!(reason("b:1", "a:1").contains("both at a:1"));
        assert!(reason("b:1", "b").contains("no port"));
        assert!(reason("revision", "edition").contains("no roster"));
        let text = text();
        for (at, address) in text.match_indices("b:1") {
            let mut changed = text.clone();
            changed.replace_range(at..at + address.len(), "b");
            assert!(
                read(changed.as_bytes()).unwrap_err().contains("no port"),
                "in the base and among the members"
            );
        }
        assert!(read(b"\xff").unwrap_err().contains("no roster"));
    }
}
