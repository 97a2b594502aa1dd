//! Which ports `annulus dev` takes.

/// Masters and auxiliaries that one `annulus dev` may run: the ports of one kind must not run into the next.
pub(crate) const MOST_NODES: i64 = 64;
/// The highest `--port-base`, so that every port derived from it exists; what is above is kept for services to come.
pub(crate) const HIGHEST_BASE: i64 = 65_000;

const MASTERS: u16 = 8000;
const AUXILIARIES: u16 = 3000;
/// Above `--port-base`, auxiliaries start here and masters at 0.
const AUXILIARIES_ABOVE_BASE: u16 = 100;

/// The ports of all nodes, from `--port-base`: the defaults where it was not given, any free ones where it is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports(pub(crate) Option<u16>);

impl Ports {
    /// Of the master with this number, counted from 1: 8000, 8001, …, or the base, the base + 1, ….
    pub(crate) fn master(self, number: u16) -> u16 {
        match self.0 {
            None => MASTERS + number - 1,
            Some(0) => 0,
            Some(base) => base + number - 1,
        }
    }

    /// Of the auxiliary with this number, counted from 1: 3001, 3002, …, or the base + 101, the base + 102, ….
    pub(crate) fn auxiliary(self, number: u16) -> u16 {
        match self.0 {
            None => AUXILIARIES + number,
            Some(0) => 0,
            Some(base) => base + AUXILIARIES_ABOVE_BASE + number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_moves_every_port_and_zero_leaves_them_to_the_system() {
        let all = |base| [Ports(base).master(1), Ports(base).master(2), Ports(base).auxiliary(1)];
        assert_eq!(all(None), [8000, 8001, 3001]);
        assert_eq!(all(Some(40_000)), [40_000, 40_001, 40_101]);
        assert_eq!(all(Some(0)), [0, 0, 0]);
    }

    #[test]
    fn the_highest_base_leaves_room_for_the_most_nodes() {
        let ports = Ports(Some(u16::try_from(HIGHEST_BASE).unwrap()));
        let most = u16::try_from(MOST_NODES).unwrap();
        assert!(ports.master(most) < ports.auxiliary(1));
        assert!(ports.auxiliary(most) > ports.auxiliary(1), "it would have overflowed");
    }
}
