use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

/// Digits after the decimal point that an amount holds.
const DIGITS: usize = 12;
const PICO: i128 = 1_000_000_000_000;

/// An amount of US dollars, in whole pico-dollars (10⁻¹² $).
///
/// Price lists give up to ten digits after the point and usage comes in whole
/// milliseconds and mebibytes, so integers add up exactly, in any order, and two
/// machines agree on a bill to the last digit. In files it is a decimal text
/// (`"0.0000166667"`): a binary fraction would not be what the list says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(i128);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many 10⁻¹² dollars.
    #[must_use]
    pub const fn from_pico(pico: i128) -> Self {
        Self(pico)
    }

    /// In 10⁻¹² dollars.
    #[must_use]
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// In dollars, for ratios and charts.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / PICO as f64
    }

    /// This price for `quantity` of units of which it is the price of `per`
    /// (`per` ≥ 1), rounded half up to a pico-dollar. Saturates.
    #[must_use]
    pub fn times(self, quantity: u128, per: u128) -> Self {
        let quantity = i128::try_from(quantity).unwrap_or(i128::MAX);
        let per = i128::try_from(per.max(1)).unwrap_or(i128::MAX);
        Self(divide(self.0.saturating_mul(quantity), per))
    }

    /// To whole cents, half up, as invoices show it.
    #[must_use]
    pub fn to_cents(self) -> Self {
        Self(divide(self.0, PICO / 100).saturating_mul(PICO / 100))
    }
}

fn divide(numerator: i128, denominator: i128) -> i128 {
    let half = denominator / 2;
    numerator.saturating_add(half).div_euclid(denominator)
}

/// All digits that count, at least two after the point: `0.20`, `0.0000166667`.
impl fmt::Display for Usd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        let (whole, fraction) = (amount / PICO as u128, amount % PICO as u128);
        let digits = format!("{fraction:0width$}", width = DIGITS);
        let kept = digits.trim_end_matches('0').len().max(2);
        formatter.pad(&format!("{sign}{whole}.{}", &digits[..kept]))
    }
}

/// A text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an amount of dollars: digits, a point and at most {DIGITS} digits after it, as 0.0000166667"
)]
pub struct AmountError(String);

impl FromStr for Usd {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let wrong = || AmountError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > DIGITS || whole.len() > 18 {
            return Err(wrong());
        }
        let whole: i128 = whole.parse().map_err(|_| wrong())?;
        let fraction: i128 = format!("{fraction:0<DIGITS$}").parse().map_err(|_| wrong())?;
        Ok(Self(whole * PICO + fraction))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Usd;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an amount of dollars as text, in quotes, as \"0.0000166667\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Usd, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Add for Usd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Usd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}
