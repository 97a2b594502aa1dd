//! `one-leader`, in ten thousand random schedules: replicas that are stopped between any two instructions, clocks that drift,
//! calls that are lost or come late, a home that is wiped or fails over to a copy that is behind.

mod home;
mod replica;
mod schedule;

use schedule::{Outcome, Rules, run};

const SCHEDULES: u64 = 10_000;

/// Runs them until one breaks the invariant; `SCHEDULE=n` runs that one alone.
fn first_broken(rules: Rules, schedules: u64) -> Result<Outcome, String> {
    let only = std::env::var("SCHEDULE").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = only.map_or(0..schedules, |seed| seed..seed + 1);
    let mut all = Outcome::default();
    for seed in seeds {
        let outcome = run(seed, rules).map_err(|why| format!("SCHEDULE={seed}: {why}"))?;
        all.add(&outcome);
    }
    Ok(all)
}

#[test]
fn one_leader_holds_in_ten_thousand_schedules() {
    let all = first_broken(Rules::default(), SCHEDULES).unwrap_or_else(|why| panic!("{why}"));
    println!("{SCHEDULES} schedules: {all:?}");
    // Or nothing was shown.
    assert!(all.terms > 3 * SCHEDULES && all.published > 30 * SCHEDULES, "{all:?}");
    assert!(all.refused > SCHEDULES / 10 && all.losses > SCHEDULES / 2, "{all:?}");
}

#[test]
fn the_schedules_notice_a_home_that_refuses_nobody() {
    let broken = first_broken(Rules { fenced: false, ..Rules::default() }, 300);
    assert!(broken.is_err_and(|why| why.contains("deposed")), "nobody noticed");
}

#[test]
fn the_schedules_notice_a_clock_that_is_slower_than_the_margin_allows() {
    let broken = first_broken(Rules { drift: 0.05, ..Rules::default() }, 1_000);
    assert!(broken.is_err_and(|why| why.contains("both lead")), "nobody noticed");
}

#[test]
fn the_schedules_notice_a_clock_that_goes_back_by_more_than_an_outage() {
    let broken = first_broken(Rules { skew_is_small: false, ..Rules::default() }, 1_000);
    assert!(broken.is_err_and(|why| why.contains("comes after")), "nobody noticed");
}
