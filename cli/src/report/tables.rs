//! The page's tables: slices, strategies, what passes, the bill.

use super::{Report, Role};
use crate::compare::{figures_header, figures_row};
use crate::page::table;
use crate::table::without_empty_columns;
use tranche_partitioner::explain::{PlanCosts, layer_span, readers, share, tensor_type};
use tranche_schema::{Bill, Millis};

fn known(time: Millis) -> String {
    if time.0 > 0.0 { time.to_string() } else { String::new() }
}

fn filled(page: &mut String, title: &str, header: &[&str], rows: Vec<(bool, Vec<String>)>) {
    let (marks, rows): (Vec<bool>, Vec<Vec<String>>) = rows.into_iter().unzip();
    let (header, rows) = without_empty_columns(header, &rows);
    table(page, title, &header, &marks.into_iter().zip(rows).collect::<Vec<_>>());
}

/// Functions with what they are given, take and cost, and why they end where they end.
pub(super) fn slices(page: &mut String, report: &Report) {
    let costs = PlanCosts::of(&report.plan);
    let rows = report.plan.slices.iter().map(|slice| {
        let prediction = &slice.prediction;
        let without = slice
            .without_cut
            .map(|dearer| format!("; the best plan without this cut {}", share(1.0 + dearer)))
            .unwrap_or_default();
        let row = vec![
            slice.name.clone(),
            layer_span(slice),
            prediction.weights_bytes.to_string(),
            slice.size.memory_bytes.to_string(),
            slice.size.cpu_milli.to_string(),
            prediction.billed_ms.to_string(),
            prediction.handoff_ms.to_string(),
            known(prediction.start_up_ms),
            costs.text(costs.slice(slice)),
            format!("{}{without}", slice.reason),
        ];
        (false, row)
    });
    let header = [
        "slice",
        "layers",
        "weights",
        "memory",
        "CPU",
        "billed",
        "of it hand-off",
        "start-up",
        costs.heading(),
        "why it ends there",
    ];
    filled(page, "Slices", &header, rows.collect());
}

/// Strategies in numbers, and why those without a plan have none.
pub(super) fn strategies(page: &mut String, report: &Report) {
    let costs = PlanCosts::of(&report.plan);
    let planned = report.candidates.iter().map(|plan| {
        let mut row = figures_row(plan.name.clone(), &plan.figures, &costs);
        row.push(match plan.role {
            Role::Own => "this plan".to_owned(),
            Role::Unsplit => "the whole model in one function".to_owned(),
            Role::Other => String::new(),
        });
        (plan.role == Role::Own, row)
    });
    let refused = report.refused.iter().map(|(strategy, refusal)| {
        let mut row = vec![strategy.clone()];
        row.extend(std::iter::repeat_n("–".to_owned(), 8));
        row.push(refusal.message.clone());
        (false, row)
    });
    let header = [&figures_header(&costs)[..], &[""]].concat();
    filled(page, "Strategies", &header, planned.chain(refused).collect());
}

/// Tensors on their way.
pub(super) fn tensors(page: &mut String, report: &Report) {
    let rows = report.plan.edges.iter().map(|edge| {
        let row = vec![
            edge.tensor.name.clone(),
            edge.tensor.bytes().to_string(),
            tensor_type(&edge.tensor),
            format!("{}, {}", edge.channel, edge.codec),
            format!("{} → {}", edge.from.as_deref().unwrap_or("caller"), readers(edge)),
        ];
        (false, row)
    });
    let header = ["tensor", "bytes", "type", "sent", "from, to"];
    filled(page, "What passes between functions", &header, rows.collect());
}

/// Predicted beside measured.
pub(super) fn bill(page: &mut String, report: &Report) {
    let Some(bill) = &report.bill else { return };
    let mut rows: Vec<(bool, Vec<String>)> = bill
        .slices
        .iter()
        .map(|slice| {
            let (predicted, measured) = (&slice.predicted, &slice.measured);
            let row = vec![
                slice.slice.clone(),
                predicted.billed_ms.to_string(),
                measured.billed_ms.to_string(),
                difference(measured.billed_ms.0, predicted.billed_ms.0),
                predicted.memory_time.to_string(),
                slice.memory_time.to_string(),
                slice.size.memory_bytes.to_string(),
                if measured.peak_memory_bytes.0 > 0 {
                    measured.peak_memory_bytes.to_string()
                } else {
                    String::new()
                },
                if measured.cold { "cold" } else { "warm" }.to_owned(),
            ];
            (false, row)
        })
        .collect();
    let predicted: Millis = bill.slices.iter().map(|slice| slice.predicted.billed_ms).sum();
    rows.push((
        true,
        total(
            "all slices",
            predicted,
            bill.predicted_memory_time.to_string(),
            bill,
            &bill.predicted_latency_ms,
        ),
    ));
    if let Some(whole) = &report.unsplit_bill {
        let predicted = whole.slices.iter().map(|slice| slice.predicted.billed_ms).sum();
        rows.push((
            false,
            total(
                "whole model",
                predicted,
                whole.predicted_memory_time.to_string(),
                whole,
                &whole.predicted_latency_ms,
            ),
        ));
    }
    let header = [
        "slice",
        "billed, predicted",
        "measured",
        "difference",
        "memory-time, predicted",
        "measured",
        "memory limit",
        "highest use",
        "",
    ];
    let requests = tranche_partitioner::explain::counted(bill.requests as usize, "request");
    filled(page, &format!("Bill of {}, median of {requests}", bill.deployment), &header, rows);
}

fn total(name: &str, predicted: Millis, memory_time: String, bill: &Bill, latency: &Millis) -> Vec<String> {
    vec![
        name.to_owned(),
        known(predicted),
        bill.billed_ms.to_string(),
        difference(bill.billed_ms.0, predicted.0),
        memory_time,
        bill.memory_time.to_string(),
        String::new(),
        String::new(),
        format!("a request took {}, predicted {latency}", bill.latency_ms),
    ]
}

fn difference(measured: f64, predicted: f64) -> String {
    if predicted > 0.0 { share(measured / predicted) } else { String::new() }
}
