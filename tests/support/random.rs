//! Chance that repeats: tests need no better.

/// A linear congruential generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2_685_821_657_736_338_717).wrapping_add(1))
    }

    /// A whole number from 0, less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }

    /// A number between two others.
    pub fn within(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * f64::from(self.next()) / f64::from(u32::MAX >> 1)
    }

    /// A waiting time as of a Poisson process: exponentially distributed, with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        // Never the logarithm of zero.
        -mean * ((f64::from(self.next()) + 1.) / f64::from(1_u32 << 31)).ln()
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}
