//! Money: integer nano-dollars. A conversion that fails is an error and never 0.

use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// Nano-dollars in a dollar.
const NANOS_PER_DOLLAR: i64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// An amount of money in nano-dollars (a billionth of a US dollar).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(i64);

/// Why a text is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is not a decimal number.
    #[error("write dollars as a decimal number such as `1.00`")]
    NotANumber,
    /// It is below zero.
    #[error("an amount of money cannot be negative")]
    Negative,
    /// It has more than nine decimals.
    #[error("a nano-dollar is the smallest amount: write at most 9 decimals")]
    TooFine,
    /// It does not fit.
    #[error("the amount is too large: at most 9223372036 dollars")]
    TooLarge,
}

impl Nanos {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, about nine billion dollars.
    pub const MAX: Self = Self(i64::MAX);

    /// So many nano-dollars.
    #[must_use]
    pub const fn new(nanos: i64) -> Self {
        Self(nanos)
    }

    /// For the database and the wire.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// Reads a decimal number of dollars, exactly.
    ///
    /// # Errors
    /// When it is none, is negative, too fine or too large.
    pub fn parse_dollars(text: &str) -> Result<Self, MoneyError> {
        let text = text.trim();
        let text = text.strip_prefix('$').unwrap_or(text);
        if text.starts_with('-') {
            return Err(MoneyError::Negative);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
            return Err(MoneyError::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DECIMALS {
            return Err(MoneyError::TooFine);
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| MoneyError::TooLarge)? };
        let fraction: i64 = format!("{fraction:0<DECIMALS$}").parse().map_err(|_| MoneyError::NotANumber)?;
        let nanos = whole.checked_mul(NANOS_PER_DOLLAR).and_then(|nanos| nanos.checked_add(fraction));
        nanos.map(Self).ok_or(MoneyError::TooLarge)
    }

    /// The sum; `None` if it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(nanos) => Some(Self(nanos)),
            None => None,
        }
    }

    /// The sum, at most [`Nanos::MAX`]: for what is only compared or shown.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, which may be below zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::saturating_add)
    }
}

impl fmt::Display for Nanos {
    /// Dollars with two to nine decimals: `$0.0043`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let per_dollar = NANOS_PER_DOLLAR.unsigned_abs();
        let fraction = format!("{:0DECIMALS$}", nanos % per_dollar);
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{sign}${}.{fraction:0<2}", nanos / per_dollar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_and_written_exactly() {
        for (text, nanos, shown) in [
            ("1.00", 1_000_000_000, "$1.00"),
            ("0.000000001", 1, "$0.000000001"),
            ("$2.5", 2_500_000_000, "$2.50"),
            (".0375", 37_500_000, "$0.0375"),
            ("9223372036", 9_223_372_036_000_000_000, "$9223372036.00"),
        ] {
            let amount = Nanos::parse_dollars(text).unwrap();
            assert_eq!((amount.as_i64(), amount.to_string().as_str()), (nanos, shown));
        }
        assert_eq!(Nanos::new(-1_500_000_000).to_string(), "-$1.50");
    }

    #[test]
    fn what_is_no_amount_is_an_error_and_never_zero() {
        for (text, error) in [
            ("", MoneyError::NotANumber),
            (".", MoneyError::NotANumber),
            ("1,5", MoneyError::NotANumber),
            ("1e3", MoneyError::NotANumber),
            ("NaN", MoneyError::NotANumber),
            ("-1", MoneyError::Negative),
            ("0.0000000001", MoneyError::TooFine),
            ("9223372037", MoneyError::TooLarge),
            ("99999999999999999999", MoneyError::TooLarge),
        ] {
            assert_eq!(Nanos::parse_dollars(text), Err(error), "{text}");
        }
    }
}
