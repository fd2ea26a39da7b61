//! Quantities. JSON holds bare numbers; field names carry the unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// `count` mebibytes.
    #[must_use]
    pub const fn mebibytes(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// As mebibytes, rounded up.
    #[must_use]
    pub const fn as_mebibytes_ceil(self) -> u64 {
        self.0.div_ceil(1024 * 1024)
    }

    /// As gibibytes.
    #[must_use]
    pub fn as_gibibytes(self) -> f64 {
        self.0 as f64 / (1024.0 * 1024.0 * 1024.0)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let text = if unit == 0 || value >= 99.95 {
            format!("{value:.0} {}", UNITS[unit])
        } else {
            format!("{value:.1} {}", UNITS[unit])
        };
        formatter.pad(&text)
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub f64);

impl Millis {
    /// As seconds.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 / 1000.0
    }
}

impl From<std::time::Duration> for Millis {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0.abs() {
            value if value >= 100.0 => format!("{:.0} ms", self.0),
            value if value >= 1.0 => format!("{:.1} ms", self.0),
            _ => format!("{:.3} ms", self.0),
        };
        formatter.pad(&text)
    }
}

/// Thousandths of a CPU: 1000 is one core's whole time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl MilliCpu {
    /// Engine threads for this share: max(1, floor(share)). Two threads below
    /// two CPUs waste billed time.
    #[must_use]
    pub const fn threads(self) -> usize {
        let whole = self.0 / 1000;
        if whole == 0 { 1 } else { whole as usize }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{:.2} CPU", f64::from(self.0) / 1000.0))
    }
}

/// Memory-time: gibibytes held times seconds held.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GibSeconds(pub f64);

impl GibSeconds {
    /// `memory` held for `time`.
    #[must_use]
    pub fn of(memory: ByteCount, time: Millis) -> Self {
        Self(memory.as_gibibytes() * time.as_seconds())
    }
}

impl fmt::Display for GibSeconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three digits that count, and no more zeros before them than a reader can compare.
        let decimals = match self.0.abs() {
            value if value >= 0.01 || value == 0.0 => 4,
            value if value >= 0.001 => 5,
            value if value >= 0.0001 => 6,
            _ => 7,
        };
        formatter.pad(&format!("{:.decimals$} GiB·s", self.0))
    }
}

macro_rules! arithmetic {
    ($($unit:ty),*) => {$(
        impl Add for $unit {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }
        impl Sub for $unit {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }
        impl AddAssign for $unit {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }
        impl Sum for $unit {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::default(), Add::add)
            }
        }
    )*};
}
arithmetic!(ByteCount, Millis, MilliCpu, GibSeconds);
