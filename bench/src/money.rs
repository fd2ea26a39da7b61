//! What measured requests are charged by a list of prices.

use crate::BenchError;
use crate::line::FunctionMeasured;
use std::fs;
use std::path::Path;
use tranche_schema::{
    Billing, CostUnit, CpuPoint, MemorySizes, MilliCpu, PriceModel, Prices, SeparatePrices,
};

/// A price file.
#[derive(Clone, Debug)]
pub struct PriceList(Prices);

impl PriceList {
    /// Every price file of a folder, by name.
    ///
    /// # Errors
    /// When the folder or a file cannot be read, or a file is no price file.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, BenchError> {
        let entries = fs::read_dir(folder).map_err(BenchError::file("read", folder))?;
        let mut lists = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| Self::read(&path))
            .collect::<Result<Vec<_>, _>>()?;
        lists.sort_by(|left, right| left.name().cmp(right.name()));
        Ok(lists)
    }

    /// One price file.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn read(path: &Path) -> Result<Self, BenchError> {
        let text = fs::read_to_string(path).map_err(BenchError::file("read", path))?;
        Self::parse(&text)
            .map_err(|error| BenchError::Content { path: path.to_owned(), reason: error.to_string() })
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let table: toml::Table = toml::from_str(text)?;
        let separate = table.get("kind").is_some_and(|kind| kind.as_str() == Some(SeparatePrices::KIND));
        Ok(Self(if separate {
            Prices::Separate(toml::from_str(text)?)
        } else {
            Prices::WithMemory(toml::from_str(text)?)
        }))
    }

    /// Short name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Dollars for a million warm requests to these functions at their median times, at
    /// the smallest sizes on the platform's grid that give at least the memory and the
    /// CPU share that they were measured with. Compute and request fees; nothing that
    /// passes between functions. None where the platform has no such size, sells only
    /// replicas, or has no prices.
    #[must_use]
    pub fn per_million(&self, functions: &[FunctionMeasured]) -> Option<f64> {
        functions.iter().map(|function| self.of_one(function)).sum::<Option<f64>>().map(|one| one * 1e6)
    }

    /// Dollars for one call.
    fn of_one(&self, function: &FunctionMeasured) -> Option<f64> {
        let mib = function.memory_bytes.0.div_ceil(1 << 20);
        match &self.0 {
            Prices::WithMemory(prices) => with_memory(prices, mib, function),
            Prices::Separate(prices) => separate(prices, mib, function),
        }
    }
}

fn with_memory(prices: &PriceModel, mib: u64, function: &FunctionMeasured) -> Option<f64> {
    let mib = size(prices.memory, mib.max(memory_with(&prices.cpu, function.cpu_milli)?))?;
    let price = prices.compute.tiers.first()?.usd_per_gib_second.dollars();
    let seconds = billed_seconds(function, prices.compute.step_ms);
    Some(mib as f64 / 1024.0 * seconds * price + prices.requests.usd_per_million.dollars() / 1e6)
}

/// The least memory, in MiB, that comes with a CPU share: straight between the points.
fn memory_with(points: &[CpuPoint], share: MilliCpu) -> Option<u64> {
    let above = points.iter().position(|point| point.milli_cpu >= share)?;
    let high = points.get(above)?;
    let Some(low) = above.checked_sub(1).and_then(|below| points.get(below)) else {
        return Some(u64::from(high.mib));
    };
    let rise = f64::from(high.milli_cpu.0 - low.milli_cpu.0);
    let part = f64::from(share.0 - low.milli_cpu.0) / rise;
    Some((f64::from(low.mib) + part * f64::from(high.mib - low.mib)).ceil() as u64)
}

fn separate(prices: &SeparatePrices, mib: u64, function: &FunctionMeasured) -> Option<f64> {
    if prices.unit != CostUnit::Usd || !prices.billing.contains(&Billing::PerRequest) {
        return None;
    }
    let mib = size(prices.memory, mib)?;
    let least = prices.cpu.most_mib_per_cpu.map_or(0, |most| mib.div_ceil(u64::from(most.max(1))) * 1000);
    let wanted = u64::from(function.cpu_milli.0).max(least);
    let shares = &prices.cpu.milli_cpu;
    let cpu = match shares.iter().map(|share| u64::from(share.0)).find(|&share| share >= wanted) {
        Some(share) => share,
        None if shares.is_empty() => wanted,
        None => return None,
    };
    let (memory, share) = (prices.compute.usd_per_gib_second, prices.compute.usd_per_cpu_second);
    let second = mib as f64 / 1024.0 * memory.dollars() + cpu as f64 / 1000.0 * share.dollars();
    let seconds = billed_seconds(function, prices.compute.step_ms);
    Some(second * seconds + prices.requests.usd_per_million.dollars() / 1e6)
}

/// The smallest size on the grid that holds `mib`.
fn size(sizes: MemorySizes, mib: u64) -> Option<u64> {
    let (least, step) = (u64::from(sizes.minimum_mib), u64::from(sizes.step_mib.max(1)));
    let found = least + mib.saturating_sub(least).div_ceil(step) * step;
    (found <= u64::from(sizes.maximum_mib)).then_some(found)
}

fn billed_seconds(function: &FunctionMeasured, step_ms: u64) -> f64 {
    let time = function.billed.median;
    let step = step_ms as f64;
    let billed = if step_ms == 0 { time } else { (time / step).ceil() * step };
    billed / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Spread;
    use tranche_schema::ByteCount;

    fn function(mib: u64, milliseconds: f64) -> FunctionMeasured {
        FunctionMeasured {
            memory_bytes: ByteCount::mebibytes(mib),
            cpu_milli: MilliCpu(1000),
            billed: Spread { median: milliseconds, ..Spread::default() },
            ..FunctionMeasured::default()
        }
    }

    fn lambda() -> PriceList {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../prices");
        PriceList::read(&folder.join("aws-lambda-x86.toml")).unwrap()
    }

    #[test]
    fn where_cpu_comes_with_memory_a_smaller_limit_saves_nothing() {
        let small = lambda().per_million(&[function(64, 100.0)]).unwrap();
        let large = lambda().per_million(&[function(1769, 99.2)]).unwrap();
        assert!((small - large).abs() < 1e-9, "{small} {large}");
        // 1,769 MiB for 0.1 s at 0.0000166667 $ a GiB·s, and 0.20 $ of fees.
        assert!((large - (1769.0 / 1024.0 * 0.1 * 16.6667 + 0.2)).abs() < 1e-6, "{large}");
        assert_eq!(lambda().per_million(&[function(20_000, 1.0)]), None);
    }

    #[test]
    fn where_they_are_sold_apart_it_does() {
        let list = PriceList::parse(SEPARATE).unwrap();
        let whole = list.per_million(&[function(1024, 250.0)]).unwrap();
        // (1 GiB × 2 + 1 CPU × 10) × 0.3 s × 10⁻⁶ × 10⁶, and 0.40 $ of fees.
        assert!((whole - (12.0 * 0.3 + 0.4)).abs() < 1e-9, "{whole}");
        let half = list.per_million(&[function(500, 250.0)]).unwrap();
        assert!((half - (11.0 * 0.3 + 0.4)).abs() < 1e-9, "{half}");
    }

    const SEPARATE: &str = r#"
        format = "tranche-prices"
        version = 1
        kind = "separate"
        name = "apart"
        title = "Memory and CPU apart"
        date = "2026-11-25"
        region = "any"
        architecture = "any"
        sources = []
        unit = "usd"
        billing = ["per-request"]
        compute = { step_ms = 100, start_up_billed = false, usd_per_gib_second = "0.000002", usd_per_cpu_second = "0.00001" }
        memory = { minimum_mib = 128, maximum_mib = 4096, step_mib = 128 }
        cpu = {}
        requests = { usd_per_million = "0.40" }
        scale = { utilisation = 0.7 }
        time = { call_seconds = 900, start_up_seconds = 10 }
    "#;
}
