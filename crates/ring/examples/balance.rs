//! How full the fullest node gets: the measurement behind `DEFAULT_VIRTUAL_NODES`.
//!
//! `cargo run --release -p annulus-ring --example balance [RINGS]` builds that many rings of fresh names for each number
//! of members and of virtual nodes, and prints the share of the fullest member as a multiple of the mean: the median
//! ring's and the worst ring's.

use annulus_ring::{Member, Ring, RingError};

const MEMBERS: [u32; 6] = [2, 3, 5, 10, 30, 100];
const VIRTUAL_NODES: [u32; 4] = [512, 1024, 2048, 4096];

fn main() -> Result<(), RingError> {
    let rings = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(200);
    println!("fullest ÷ mean over {rings} rings: median / worst");
    print!("{:>8}", "members");
    for virtual_nodes in VIRTUAL_NODES {
        print!("{virtual_nodes:>16}");
    }
    println!();
    for members in MEMBERS {
        print!("{members:>8}");
        for virtual_nodes in VIRTUAL_NODES {
            let mut fullest = (0..rings)
                .map(|ring| fullest(ring, members, virtual_nodes))
                .collect::<Result<Vec<f64>, RingError>>()?;
            fullest.sort_by(f64::total_cmp);
            print!("{:>8.3} /{:>6.3}", fullest[fullest.len() / 2], fullest[fullest.len() - 1]);
        }
        println!();
    }
    Ok(())
}

/// The share of the fullest member of ring number `ring`, as a multiple of the mean.
fn fullest(ring: u32, members: u32, virtual_nodes: u32) -> Result<f64, RingError> {
    let names = (0..members).map(|member| Member::new(format!("ring-{ring}-node-{member}")));
    let shares = Ring::new(names, virtual_nodes)?.shares();
    Ok(shares.into_iter().fold(0.0, f64::max) * f64::from(members))
}
