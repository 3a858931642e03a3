//! The C library's allocator.

/// Has all threads of this program share `count` arenas, from now on. To be called before there are
/// threads: an arena that is there stays.
///
/// The default is eight a processor, each of which keeps what its threads once freed: fast for programs
/// that do nothing but allocate, and tens of megabytes for one that mostly waits.
///
/// Whether it was done; see mallopt(3), `M_ARENA_MAX`.
pub fn share_arenas(count: i32) -> bool {
    // SAFETY: takes two numbers and may be called at any time, from any thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, count) == 1 }
}

/// Gives whole pages that hold nothing back to the system; says whether there were any. Takes a
/// millisecond for some tens of megabytes. See malloc_trim(3).
pub fn give_back() -> bool {
    // SAFETY: takes a number and may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_hold_nothing_are_given_back() {
        assert!(share_arenas(2));
        let mut blocks: Vec<Box<[u8]>> = (0..4096).map(|_| vec![1; 4096].into()).collect();
        // The last one keeps the heap from shrinking by itself.
        blocks.swap(0, 4095);
        blocks.truncate(1);
        assert!(give_back(), "16 MB of them");
    }
}
