//! The bill of a request, and the rows that show it.

use crate::Inner;
use crate::lambda::LambdaRequest;
use std::time::Duration;
use tranche_schema::{
    Bill, ByteCount, Document as _, FunctionMetrics, GibSeconds, LambdaBill, LambdaUse, MilliCpu, Millis,
    SliceBill, StoreUse,
};

/// What the driver saw of one function.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) attempts: u32,
    pub(crate) metrics: FunctionMetrics,
    pub(crate) elapsed: Duration,
}

pub(crate) fn assemble(
    inner: &Inner,
    records: Vec<Option<Record>>,
    latency: Duration,
    lambda: Option<&LambdaRequest>,
) -> Bill {
    let deployment = &inner.deployment;
    let (uses, lambda) = lambda.map(LambdaRequest::counts).unzip();
    let uses: Vec<LambdaUse> = uses.unwrap_or_default();
    let slices: Vec<SliceBill> = deployment
        .functions
        .iter()
        .zip(records)
        .enumerate()
        .filter_map(|(index, (function, record))| {
            let Record { attempts, metrics, elapsed } = record?;
            let transport = (Millis::from(elapsed).0 - metrics.billed_ms.0).max(0.0);
            Some(SliceBill {
                slice: function.slice.clone(),
                size: function.size,
                limits: function.limits,
                attempts,
                memory_time: GibSeconds::of(function.size.memory_bytes, metrics.billed_ms),
                transport_ms: Millis(transport),
                handoff_bytes: metrics.input_coded_bytes + metrics.output_coded_bytes,
                predicted: function.prediction,
                measured: metrics,
                lambda: uses.get(index).cloned(),
            })
        })
        .collect();
    Bill {
        header: Bill::header(),
        deployment: deployment.name.clone(),
        engine: deployment.engine.clone(),
        requests: 1,
        latency_ms: latency.into(),
        billed_ms: slices.iter().map(|slice| slice.measured.billed_ms).sum(),
        memory_time: slices.iter().map(|slice| slice.memory_time).sum(),
        predicted_memory_time: slices.iter().map(|slice| slice.predicted.memory_time).sum(),
        predicted_latency_ms: critical_path(inner),
        slices,
        lambda,
    }
}

/// The longest chain of predicted billed times: functions that do not wait for
/// each other run at once.
fn critical_path(inner: &Inner) -> Millis {
    let plan = &inner.plan;
    let mut ready_at = vec![0.0_f64; plan.tensors.len()];
    let mut last = 0.0_f64;
    for (function, deployed) in plan.functions.iter().zip(&inner.deployment.functions) {
        let start = function.inputs.iter().filter_map(|&at| ready_at.get(at)).fold(0.0_f64, |a, &b| a.max(b));
        let end = start + deployed.prediction.billed_ms.0;
        for &output in &function.outputs {
            if let Some(slot) = ready_at.get_mut(output) {
                *slot = end;
            }
        }
        last = last.max(end);
    }
    Millis(last)
}

/// The median of several bills of one deployment, number by number; a slice is
/// cold when it was in more than half. `None` when there is no bill, or the
/// bills are not of the same slices.
#[must_use]
pub fn median(bills: &[Bill]) -> Option<Bill> {
    let first = bills.first()?;
    let names = |bill: &Bill| bill.slices.iter().map(|slice| slice.slice.clone()).collect::<Vec<_>>();
    if bills.iter().any(|bill| bill.deployment != first.deployment || names(bill) != names(first)) {
        return None;
    }
    let slices = (0..first.slices.len())
        .map(|index| {
            let of: Vec<&SliceBill> = bills.iter().filter_map(|bill| bill.slices.get(index)).collect();
            median_slice(&of)
        })
        .collect::<Option<Vec<_>>>()?;
    let millis = |field: fn(&Bill) -> Millis| Millis(middle(bills.iter().map(|bill| field(bill).0)));
    let memory_time = GibSeconds(middle(bills.iter().map(|bill| bill.memory_time.0)));
    Some(Bill {
        requests: bills.iter().map(|bill| bill.requests).sum(),
        slices,
        latency_ms: millis(|bill| bill.latency_ms),
        billed_ms: millis(|bill| bill.billed_ms),
        memory_time,
        lambda: median_lambda(bills),
        ..first.clone()
    })
}

/// Nothing unless every bill is of Lambda.
fn median_lambda(bills: &[Bill]) -> Option<LambdaBill> {
    let of: Vec<&LambdaBill> = bills.iter().map(|bill| bill.lambda.as_ref()).collect::<Option<_>>()?;
    let number = |field: fn(&StoreUse) -> u64| middle(of.iter().map(|bill| field(&bill.store) as f64)) as u64;
    let count = |field: fn(&StoreUse) -> u64| u32::try_from(number(field)).unwrap_or(u32::MAX);
    let entries: Option<Vec<&LambdaUse>> = of.iter().map(|bill| bill.entry.as_ref()).collect();
    Some(LambdaBill {
        store: StoreUse {
            puts: count(|store| u64::from(store.puts)),
            gets: count(|store| u64::from(store.gets)),
            lists: count(|store| u64::from(store.lists)),
            written_bytes: ByteCount(number(|store| store.written_bytes.0)),
            read_bytes: ByteCount(number(|store| store.read_bytes.0)),
        },
        entry: entries.and_then(|entries| median_use(&entries)),
    })
}

fn median_use(of: &[&LambdaUse]) -> Option<LambdaUse> {
    let first = of.first()?;
    let number = |field: fn(&LambdaUse) -> f64| middle(of.iter().map(|counted| field(counted)));
    Some(LambdaUse {
        invocations: number(|counted| f64::from(counted.invocations)).ceil() as u32,
        reported: number(|counted| f64::from(counted.reported)) as u32,
        billed_ms: Millis(number(|counted| counted.billed_ms.0)),
        init_ms: Millis(number(|counted| counted.init_ms.0)),
        memory_mib: first.memory_mib,
        memory_time: GibSeconds(number(|counted| counted.memory_time.0)),
        payload_bytes: ByteCount(number(|counted| counted.payload_bytes.0 as f64) as u64),
        streamed_bytes: ByteCount(number(|counted| counted.streamed_bytes.0 as f64) as u64),
    })
}

fn median_slice(of: &[&SliceBill]) -> Option<SliceBill> {
    let first = of.first()?;
    let millis = |field: fn(&FunctionMetrics) -> Millis| {
        Millis(middle(of.iter().map(|slice| field(&slice.measured).0)))
    };
    let bytes = |field: fn(&FunctionMetrics) -> ByteCount| {
        ByteCount(middle(of.iter().map(|slice| field(&slice.measured).0 as f64)) as u64)
    };
    let cold = of.iter().filter(|slice| slice.measured.cold).count() * 2 > of.len();
    let starts: Vec<f64> = of.iter().filter_map(|slice| Some(slice.measured.start_up_ms?.0)).collect();
    let attempts = middle(of.iter().map(|slice| f64::from(slice.attempts))).ceil() as u32;
    Some(SliceBill {
        attempts,
        measured: FunctionMetrics {
            request_id: first.measured.request_id.clone(),
            call_id: first.measured.call_id.clone(),
            slice: first.measured.slice.clone(),
            attempt: attempts,
            billed_ms: millis(|metrics| metrics.billed_ms),
            wait_ms: millis(|metrics| metrics.wait_ms),
            decode_ms: millis(|metrics| metrics.decode_ms),
            run_ms: millis(|metrics| metrics.run_ms),
            encode_ms: millis(|metrics| metrics.encode_ms),
            input_bytes: bytes(|metrics| metrics.input_bytes),
            output_bytes: bytes(|metrics| metrics.output_bytes),
            input_coded_bytes: bytes(|metrics| metrics.input_coded_bytes),
            output_coded_bytes: bytes(|metrics| metrics.output_coded_bytes),
            cold,
            start_up_ms: (cold && !starts.is_empty()).then(|| Millis(middle(starts.into_iter()))),
            peak_memory_bytes: bytes(|metrics| metrics.peak_memory_bytes),
        },
        memory_time: GibSeconds(middle(of.iter().map(|slice| slice.memory_time.0))),
        transport_ms: Millis(middle(of.iter().map(|slice| slice.transport_ms.0))),
        handoff_bytes: ByteCount(middle(of.iter().map(|slice| slice.handoff_bytes.0 as f64)) as u64),
        lambda: of
            .iter()
            .map(|slice| slice.lambda.as_ref())
            .collect::<Option<Vec<_>>>()
            .and_then(|uses| median_use(&uses)),
        ..(*first).clone()
    })
}

/// The median; of an even number, the mean of the two in the middle. 0 of none.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

/// A bill as rows of text, one column for each entry of `header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillTable {
    /// Column titles.
    pub header: Vec<String>,
    /// One row a slice.
    pub rows: Vec<Vec<String>>,
    /// The total; with an unsplit bill also that, and how many times less the slices take.
    pub totals: Vec<Vec<String>>,
    /// What a reader of the numbers must know: limits not enforced, cold starts, further tries.
    pub notes: Vec<String>,
}

const HEADER: [&str; 10] = [
    "slice",
    "memory",
    "CPU",
    "billed",
    "predicted",
    "memory-time",
    "predicted",
    "hand-off",
    "hand-off bytes",
    "latency",
];

/// The rows of a bill. Hand-off is decoding, encoding and transport; latency is
/// given for whole requests only, with the predicted one in brackets.
#[must_use]
pub fn table(bill: &Bill, unsplit: Option<&Bill>) -> BillTable {
    let mut totals = vec![total_row("total", bill)];
    let mut notes = notes(bill);
    if let Some(unsplit) = unsplit {
        totals.push(total_row("unsplit", unsplit));
        totals.push(ratio_row(bill, unsplit));
        notes.extend(self::notes(unsplit).into_iter().map(|note| format!("unsplit: {note}")));
    }
    BillTable {
        header: HEADER.map(str::to_owned).to_vec(),
        rows: bill.slices.iter().map(slice_row).collect(),
        totals,
        notes,
    }
}

fn slice_row(slice: &SliceBill) -> Vec<String> {
    let mark = |enforced: bool| if enforced { "" } else { "*" };
    vec![
        slice.slice.clone(),
        format!("{}{}", slice.size.memory_bytes, mark(slice.limits.memory)),
        format!("{}{}", slice.size.cpu_milli, mark(slice.limits.cpu)),
        slice.measured.billed_ms.to_string(),
        slice.predicted.billed_ms.to_string(),
        slice.memory_time.to_string(),
        slice.predicted.memory_time.to_string(),
        handoff(slice).to_string(),
        slice.handoff_bytes.to_string(),
        String::new(),
    ]
}

fn handoff(slice: &SliceBill) -> Millis {
    slice.transport_ms + slice.measured.decode_ms + slice.measured.encode_ms
}

fn total_row(title: &str, bill: &Bill) -> Vec<String> {
    let slices = || bill.slices.iter();
    vec![
        title.to_owned(),
        slices().map(|slice| slice.size.memory_bytes).sum::<ByteCount>().to_string(),
        slices().map(|slice| slice.size.cpu_milli).sum::<MilliCpu>().to_string(),
        bill.billed_ms.to_string(),
        slices().map(|slice| slice.predicted.billed_ms).sum::<Millis>().to_string(),
        bill.memory_time.to_string(),
        bill.predicted_memory_time.to_string(),
        slices().map(handoff).sum::<Millis>().to_string(),
        slices().map(|slice| slice.handoff_bytes).sum::<ByteCount>().to_string(),
        format!("{} ({})", bill.latency_ms, bill.predicted_latency_ms),
    ]
}

fn ratio_row(bill: &Bill, unsplit: &Bill) -> Vec<String> {
    let ratio = |whole: f64, sliced: f64| {
        if sliced > 0.0 { format!("{:.2}x", whole / sliced) } else { String::new() }
    };
    let predicted = |bill: &Bill| bill.slices.iter().map(|slice| slice.predicted.billed_ms).sum::<Millis>().0;
    vec![
        "unsplit / slices".to_owned(),
        String::new(),
        String::new(),
        ratio(unsplit.billed_ms.0, bill.billed_ms.0),
        ratio(predicted(unsplit), predicted(bill)),
        ratio(unsplit.memory_time.0, bill.memory_time.0),
        ratio(unsplit.predicted_memory_time.0, bill.predicted_memory_time.0),
        String::new(),
        String::new(),
        ratio(unsplit.latency_ms.0, bill.latency_ms.0),
    ]
}

fn notes(bill: &Bill) -> Vec<String> {
    let mut notes = Vec::new();
    if bill.slices.iter().any(|slice| !slice.limits.memory || !slice.limits.cpu) {
        notes.push("* this limit is not enforced on this machine".to_owned());
    }
    for slice in &bill.slices {
        if slice.measured.cold {
            let taken = slice.measured.start_up_ms.map(|taken| format!(", which took it {taken}"));
            let taken = taken.unwrap_or_default();
            notes.push(format!("`{}` answered its first request since it started{taken}", slice.slice));
        }
        if slice.attempts > 1 {
            notes.push(format!("`{}` took {} tries", slice.slice, slice.attempts));
        }
    }
    notes
}
