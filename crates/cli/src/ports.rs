//! Which ports `annulus dev` takes.

/// Masters and auxiliaries that one `annulus dev` may run: the ports of one kind must not run into the next.
pub(crate) const MOST_NODES: i64 = 64;
/// The highest `--port-base`, so that every port derived from it exists; what is above is kept for services to come.
pub(crate) const HIGHEST_BASE: i64 = 65_000;

const MASTERS: u16 = 8000;
const AUXILIARIES: u16 = 3000;
const MASTERS_MEMCACHED: u16 = 11210;
const AUXILIARIES_MEMCACHED: u16 = 21210;
/// Above `--port-base`, masters listen here for memcached's clients, and auxiliaries.
const MEMCACHED_ABOVE_BASE: u16 = 200;
const REFRESHER: u16 = 7000;
const AUXILIARIES_MEMCACHED_ABOVE_BASE: u16 = 300;
/// Above `--port-base`, auxiliaries start here and masters at 0.
const AUXILIARIES_ABOVE_BASE: u16 = 100;
/// And the refresher is here.
const REFRESHER_ABOVE_BASE: u16 = 200;

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

    /// For memcached's clients of the master with this number: 11211, 11212, …, or the base + 201, the base + 202, ….
    pub(crate) fn master_memcached(self, number: u16) -> u16 {
        match self.0 {
            None => MASTERS_MEMCACHED + number,
            Some(0) => 0,
            Some(base) => base + MEMCACHED_ABOVE_BASE + number,
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

    /// Of the refresher: 7000, or the base + 200.
    pub(crate) fn refresher(self) -> u16 {
        match self.0 {
            None => REFRESHER,
            Some(0) => 0,
            Some(base) => base + REFRESHER_ABOVE_BASE,
        }
    }

    /// For memcached's clients of the auxiliary with this number: 21211, 21212, …, or the base + 301, the base + 302, ….
    pub(crate) fn auxiliary_memcached(self, number: u16) -> u16 {
        match self.0 {
            None => AUXILIARIES_MEMCACHED + number,
            Some(0) => 0,
            Some(base) => base + AUXILIARIES_MEMCACHED_ABOVE_BASE + number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_moves_every_port_and_zero_leaves_them_to_the_system() {
        let all = |base| {
            let ports = Ports(base);
            let rest = [ports.master(1), ports.master(2), ports.auxiliary(1), ports.refresher()];
            (rest, [ports.master_memcached(1), ports.auxiliary_memcached(1)])
        };
        assert_eq!(all(None), ([8000, 8001, 3001, 7000], [11211, 21211]));
        assert_eq!(all(Some(40_000)), ([40_000, 40_001, 40_101, 40_200], [40_201, 40_301]));
        assert_eq!(all(Some(0)), ([0, 0, 0, 0], [0, 0]));
    }

    #[test]
    fn the_highest_base_leaves_room_for_the_most_nodes() {
        let ports = Ports(Some(u16::try_from(HIGHEST_BASE).unwrap()));
        let most = u16::try_from(MOST_NODES).unwrap();
        assert!(ports.master(most) < ports.auxiliary(1));
        assert!(ports.auxiliary(most) < ports.refresher());
        assert!(ports.refresher() < ports.master_memcached(1));
        assert!(ports.master_memcached(most) < ports.auxiliary_memcached(1));
        assert!(ports.auxiliary_memcached(most) > ports.auxiliary_memcached(1), "it would have overflowed");
    }
}
