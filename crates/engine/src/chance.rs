//! Chance, where something is drawn. What is drawn from it takes it as an argument.

/// Any number. Without the machine's randomness always the same: nothing here keeps a secret.
pub(crate) fn number() -> u64 {
    getrandom::u64().unwrap_or_default()
}

/// A number from 0 up to 1. Without the machine's randomness it is in the middle: nothing here keeps a secret.
pub(crate) fn fraction() -> f64 {
    /// A `f64` holds so many bits exactly.
    const BITS: u32 = 53;
    let Ok(drawn) = getrandom::u64() else { return 0.5 };
    #[expect(clippy::cast_precision_loss, reason = "so many bits are kept exactly")]
    let (drawn, all) = ((drawn >> (u64::BITS - BITS)) as f64, (1_u64 << BITS) as f64);
    drawn / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_spread_over_all_of_them() {
        let drawn: Vec<f64> = (0..1_000).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|one| (0.0..1.0).contains(one)));
        let mean = drawn.iter().sum::<f64>() / 1_000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
