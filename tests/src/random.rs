//! Choices without a pattern that matters, the same for the same seed.

use std::time::SystemTime;

/// Numbers from a seed (xorshift64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        // Spread, so that seeds that are near each other are not alike; and never zero.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A seed from the environment's `HULL_SOAK_SEED`, or else from the clock.
pub fn seed() -> u64 {
    let given = std::env::var("HULL_SOAK_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    given.unwrap_or_else(|| u64::from(now.subsec_nanos()))
}
