//! Ranges of sizes and costs, which add and multiply without overflow.

/// From `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub(crate) const ZERO: Self = Self { min: 0, max: 0 };
    pub(crate) const ONE: Self = Self { min: 1, max: 1 };
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Times a price per unit, rounded up.
    pub(crate) fn at(self, price: f64) -> Self {
        Self { min: (self.min as f64 * price).ceil() as u64, max: priced(self.max, price) }
    }

    /// The range that holds both.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

fn priced(value: u64, price: f64) -> u64 {
    let product = value as f64;
    if product > 0.0 && price > 0.0 && product > u64::MAX as f64 / price {
        return u64::MAX;
    }
    // A cast of more than fits gives the largest.
    (product * price).ceil() as u64
}
