//! Medians and rows of bills.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use tranche_driver::{BillTable, median, table};
use tranche_schema::{
    Bill, ByteCount, Document as _, FunctionMetrics, FunctionSize, GibSeconds, LimitsEnforced, MilliCpu,
    Millis, SliceBill, SlicePrediction,
};

/// A bill of slices given as (memory in MiB, billed ms).
fn bill(slices: &[(u64, f64)], latency: f64) -> Bill {
    let slices: Vec<SliceBill> = slices
        .iter()
        .enumerate()
        .map(|(index, &(mebibytes, billed))| {
            let memory_bytes = ByteCount::mebibytes(mebibytes);
            SliceBill {
                slice: format!("slice-{index}"),
                size: FunctionSize { memory_bytes, cpu_milli: MilliCpu(1000) },
                limits: LimitsEnforced { memory: true, cpu: true },
                attempts: 1,
                measured: FunctionMetrics {
                    attempt: 1,
                    billed_ms: Millis(billed),
                    decode_ms: Millis(0.5),
                    encode_ms: Millis(0.5),
                    ..FunctionMetrics::default()
                },
                memory_time: GibSeconds::of(memory_bytes, Millis(billed)),
                transport_ms: Millis(2.0),
                handoff_bytes: ByteCount(1 << 20),
                predicted: SlicePrediction {
                    billed_ms: Millis(10.0),
                    memory_time: GibSeconds::of(memory_bytes, Millis(10.0)),
                    ..SlicePrediction::default()
                },
                lambda: None,
            }
        })
        .collect();
    Bill {
        header: Bill::header(),
        deployment: "demo".into(),
        engine: "tract".into(),
        requests: 1,
        latency_ms: Millis(latency),
        billed_ms: slices.iter().map(|slice| slice.measured.billed_ms).sum(),
        memory_time: slices.iter().map(|slice| slice.memory_time).sum(),
        predicted_memory_time: slices.iter().map(|slice| slice.predicted.memory_time).sum(),
        predicted_latency_ms: Millis(20.0),
        slices,
        lambda: None,
    }
}

fn text(table: &BillTable) -> String {
    let lines = std::iter::once(&table.header).chain(&table.rows).chain(&table.totals);
    let mut text: Vec<String> = lines.map(|line| line.join(" | ").trim_end().to_owned()).collect();
    text.extend(table.notes.iter().cloned());
    text.join("\n")
}

#[test]
fn a_bill_reads_beside_the_unsplit_one() {
    let sliced = bill(&[(512, 8.0), (1024, 12.0)], 25.0);
    let unsplit = bill(&[(4096, 18.0)], 20.0);
    insta::assert_snapshot!(text(&table(&sliced, Some(&unsplit))), @r"
    slice | memory | CPU | billed | predicted | memory-time | predicted | hand-off | hand-off bytes | latency
    slice-0 | 512 MiB | 1.00 CPU | 8.0 ms | 10.0 ms | 0.00400 GiB·s | 0.00500 GiB·s | 3.0 ms | 1.0 MiB |
    slice-1 | 1.0 GiB | 1.00 CPU | 12.0 ms | 10.0 ms | 0.0120 GiB·s | 0.0100 GiB·s | 3.0 ms | 1.0 MiB |
    total | 1.5 GiB | 2.00 CPU | 20.0 ms | 20.0 ms | 0.0160 GiB·s | 0.0150 GiB·s | 6.0 ms | 2.0 MiB | 25.0 ms (20.0 ms)
    unsplit | 4.0 GiB | 1.00 CPU | 18.0 ms | 10.0 ms | 0.0720 GiB·s | 0.0400 GiB·s | 3.0 ms | 1.0 MiB | 20.0 ms (20.0 ms)
    unsplit / slices |  |  | 0.90x | 0.50x | 4.50x | 2.67x |  |  | 0.80x
    ");
}

#[test]
fn what_changes_the_numbers_is_noted() {
    let mut sliced = bill(&[(512, 8.0), (1024, 12.0)], 25.0);
    sliced.slices[0].limits.cpu = false;
    sliced.slices[0].measured.cold = true;
    sliced.slices[1].attempts = 3;
    insta::assert_snapshot!(text(&table(&sliced, None)), @r"
    slice | memory | CPU | billed | predicted | memory-time | predicted | hand-off | hand-off bytes | latency
    slice-0 | 512 MiB | 1.00 CPU* | 8.0 ms | 10.0 ms | 0.00400 GiB·s | 0.00500 GiB·s | 3.0 ms | 1.0 MiB |
    slice-1 | 1.0 GiB | 1.00 CPU | 12.0 ms | 10.0 ms | 0.0120 GiB·s | 0.0100 GiB·s | 3.0 ms | 1.0 MiB |
    total | 1.5 GiB | 2.00 CPU | 20.0 ms | 20.0 ms | 0.0160 GiB·s | 0.0150 GiB·s | 6.0 ms | 2.0 MiB | 25.0 ms (20.0 ms)
    * this limit is not enforced on this machine
    `slice-0` answered its first request since it started
    `slice-1` took 3 tries
    ");
}

#[test]
fn the_median_is_taken_number_by_number() {
    let bills = [bill(&[(512, 8.0)], 30.0), bill(&[(512, 9.0)], 10.0), bill(&[(512, 40.0)], 20.0)];
    let middle = median(&bills).unwrap();
    assert_eq!((middle.requests, middle.billed_ms.0, middle.latency_ms.0), (3, 9.0, 20.0));
    assert_eq!(middle.slices[0].measured.billed_ms.0, 9.0);
    assert_eq!(median(&bills[..2]).unwrap().billed_ms.0, 8.5, "of two, their mean");
    assert_eq!(median(&bills[..1]).unwrap(), bills[0]);
}

#[test]
fn there_is_no_median_of_nothing_or_of_different_slices() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[bill(&[(512, 8.0)], 30.0), bill(&[(512, 9.0), (512, 1.0)], 10.0)]), None);
}
