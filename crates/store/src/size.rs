//! What an allocation really costs.

/// Blocks past this size are rounded to [`LARGE_STEP`] instead of to a size class.
const LARGE: usize = 128 * 1024;

/// The step in which large blocks are handed out.
const LARGE_STEP: usize = 64 * 1024;

/// Bytes that an allocation of `bytes` takes out of memory, after mimalloc's size classes: steps of 16 up to 64
/// bytes, then four classes a doubling, then whole 64 KiB slices (Leijen, Zorn, de Moura: "Mimalloc: free list
/// sharding in action", 2019). Other allocators differ by a few percent.
pub(crate) const fn allocated(bytes: usize) -> usize {
    if bytes == 0 {
        return 0;
    }
    let step = if bytes <= 8 {
        8
    } else if bytes <= 64 {
        16
    } else if bytes <= LARGE {
        1 << ((bytes - 1).ilog2() - 2)
    } else {
        LARGE_STEP
    };
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use super::allocated;

    #[test]
    fn classes_are_those_of_mimalloc() {
        let asked = [0, 1, 8, 9, 17, 40, 64, 65, 81, 128, 129, 150, 1536, 1537, 131_072, 131_073];
        let got = [0, 8, 8, 16, 32, 48, 64, 80, 96, 128, 160, 160, 1536, 1792, 131_072, 196_608];
        assert_eq!(asked.map(allocated), got);
    }
}
