//! What the operating system says of this process.

/// Time that the process has spent on a processor, for itself and in the system, by Linux's account; elsewhere 0.
pub fn processor_time_us() -> (u64, u64) {
    // In hundredths of a second, whatever the machine (proc(5), time(7)).
    const TICK_US: u64 = 10_000;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (ticks() * TICK_US, ticks() * TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_of_this_process_only_grows() {
        let before = processor_time_us();
        let mut sum = 0_u64;
        while processor_time_us() == before && sum < u64::MAX / 2 {
            sum = std::hint::black_box(sum + 1);
        }
        let after = processor_time_us();
        assert!(after.0 >= before.0 && after.1 >= before.1 && after != before);
    }
}
