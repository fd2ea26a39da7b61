//! `tranche cost` and `tranche targets` through the real program: from bills, from a
//! model measured now, as text, JSON and HTML.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::{Value, json};
use support::Place;

#[test]
fn bills_become_a_months_cost() {
    let place = with_bills();
    let text = said(&place, &["cost", "--bill", "run.json", "--cold", "0"]);
    insta::assert_snapshot!("cost-of-bills", text);
    let text = said(&place, &["cost", "--bill", "run.json", "--rate", "2", "--orchestration", "entry"]);
    insta::assert_snapshot!("cost-of-bills-with-an-entry-function", text);
}

/// One CPU, 1,769 MB, 400 ms: 0.69102 GB-s a request.
#[test]
fn the_json_holds_exact_amounts() {
    let place = with_bills();
    let report =
        place.json(&["cost", "--bill", "run.json", "--cold", "0", "--requests-per-month", "1000000"]);
    let points = report["unsplit"]["points"].as_array().unwrap();
    let at = points.iter().find(|point| point["memory_mib"] == 1769).unwrap();
    assert_eq!(at["basis"], "measured");
    let compute =
        at["month"]["lines"].as_array().unwrap().iter().find(|line| line["kind"] == "compute").unwrap();
    // 1769 × 400 × 1,000,000 MiB·ms × $0.0000166667 / 1,024,000.
    assert_eq!(compute["usd"], "11.516950117188");
    assert_eq!(at["month"]["total_usd"], "11.716950117188");
    assert_eq!(report["verdict"]["advice"], "do-not-slice");
}

#[test]
fn a_model_is_measured_and_charted() {
    let place = Place::new();
    let arguments = [
        "cost",
        "gcn_cora",
        "--repeats",
        "1",
        "--requests",
        "2",
        "--min-slices",
        "2",
        "--sizes",
        "1024,1769",
        "--html",
        "cost.html",
    ];
    let report = place.json(&arguments);
    let slices = report["slices"].as_array().unwrap();
    assert!(slices.len() >= 2);
    for curve in slices.iter().chain([&report["unsplit"]]) {
        let basis = |size: u64| {
            let points = curve["points"].as_array().unwrap();
            points.iter().find(|point| point["memory_mib"] == size).unwrap()["basis"].clone()
        };
        assert_eq!([basis(1024), basis(1769), basis(10_240)], ["measured", "measured", "extrapolated"]);
        assert!(curve["points"][8]["start_up_ms"].as_f64().unwrap() > 0.0, "{curve}");
    }
    assert_eq!(place.json(&["status"]), json!([]));
    check_page(&std::fs::read_to_string(place.path("cost.html")).unwrap(), 2);
}

#[test]
fn the_report_stands_alone() {
    let place = with_bills();
    place.json(&["cost", "--bill", "run.json", "--html", "cost.html"]);
    check_page(&std::fs::read_to_string(place.path("cost.html")).unwrap(), 2);
}

/// One file, whole, with a chart of cost and one of time, and nothing from elsewhere.
fn check_page(page: &str, lines: usize) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    for element in ["html", "head", "style", "body", "main", "svg", "figure", "table", "section", "footer"] {
        let count = |text: &str| page.matches(text).count();
        let opened = count(&format!("<{element}>")) + count(&format!("<{element} "));
        assert!(opened > 0 && opened == count(&format!("</{element}>")), "{element}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<polyline").count(), 2 * lines);
    assert!(page.matches("class=\"ring").count() >= 2 * lines, "the best points are marked");
    assert!(page.contains("prefers-color-scheme: dark"));
    for outside in ["<script", "<link", "<img", "src=", "url(", "@import", "NaN", "inf"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn prices_of_the_users_own_win() {
    let place = with_bills();
    let mine = include_str!("../../prices/aws-lambda-x86.toml")
        .replace("name = \"aws-lambda-x86\"", "name = \"mine\"")
        .replace("usd_per_million = \"0.20\"", "usd_per_million = \"20.00\"");
    std::fs::write(place.path("mine.toml"), mine).unwrap();
    let calls = |arguments: &[&str]| {
        let report = place.json(&[&["cost", "--bill", "run.json"], arguments].concat());
        let lines = report["own_sizes"]["month"]["lines"].as_array().unwrap().clone();
        lines.iter().find(|line| line["kind"] == "requests").unwrap()["usd"].clone()
    };
    assert_eq!(calls(&[]), "0.40");
    assert_eq!(calls(&["--prices", "aws-lambda-arm"]), "0.40");
    assert_eq!(calls(&["--prices", "mine.toml"]), "40.00");
    std::fs::write(place.path("tranche.toml"), "prices = \"mine.toml\"\n").unwrap();
    assert_eq!(calls(&[]), "40.00");
    let targets = place.json(&["targets"]);
    let names: Vec<&str> =
        targets["prices"].as_array().unwrap().iter().map(|price| price["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["local", "aws-lambda-x86", "aws-lambda-arm", "cloud-run", "openfaas", "faasd", "mine"]
    );
}

#[test]
fn targets_and_prices_are_listed() {
    insta::assert_snapshot!("targets", said(&Place::new(), &["targets"]));
}

#[test]
fn what_cannot_be_priced_is_told() {
    let place = with_bills();
    std::fs::write(place.path("broken.toml"), "format = \"tranche-prices\"\nversion = 1\n").unwrap();
    std::fs::write(place.path("empty.json"), "{}").unwrap();
    std::fs::write(place.path("other.json"), json!({ "bill": bill(&[("part", 10.0, 100)]) }).to_string())
        .unwrap();
    let told: Vec<String> = [
        &["cost"][..],
        &["cost", "--bill", "none.json"],
        &["cost", "--bill", "empty.json"],
        &["cost", "--bill", "run.json", "--bill", "other.json"],
        &["cost", "--bill", "run.json", "--prices", "nowhere"],
        &["cost", "--bill", "run.json", "--prices", "broken.toml"],
        &["cost", "--bill", "run.json", "--cold", "1.5"],
        &["cost", "--bill", "run.json", "--rate", "-1"],
        &["cost", "--bill", "run.json", "--requests-per-month", "0"],
        &["cost", "--bill", "run.json", "--html", "run.json/cost.html"],
        &["cost", "gcn_cora", "--repeats", "1", "--sizes", "20000"],
    ]
    .iter()
    .map(|arguments| {
        let (code, error) = place.failure(arguments);
        format!("{code}: {}", error["message"].as_str().unwrap().lines().next().unwrap())
    })
    .collect();
    insta::assert_snapshot!("cost-errors", told.join("\n"));
}

/// A place with what `run --json` would print: 400 ms whole, two slices of 200 ms.
fn with_bills() -> Place {
    let place = Place::new();
    let report = json!({
        "model": "toy",
        "bill": bill(&[("slice-0", 200.0, 300), ("slice-1", 200.0, 300)]),
        "unsplit_bill": bill(&[("slice-0", 400.0, 500)]),
    });
    std::fs::write(place.path("run.json"), report.to_string()).unwrap();
    place
}

/// A bill of slices: name, ms at one CPU, MiB.
fn bill(slices: &[(&str, f64, u64)]) -> Value {
    let part = |(name, ms, mib): &(&str, f64, u64)| {
        let size = json!({ "memory_bytes": mib * 1024 * 1024, "cpu_milli": 1000 });
        let measured = json!({
            "request_id": "0", "slice": name, "attempt": 1, "billed_ms": ms, "wait_ms": 0.0, "decode_ms": 0.0,
            "run_ms": ms, "encode_ms": 0.0, "input_bytes": 1000, "output_bytes": 1000, "input_coded_bytes": 1000,
            "output_coded_bytes": 1000, "cold": false, "peak_memory_bytes": mib * 1024 * 1024,
        });
        let predicted = json!({
            "run_ms": ms, "handoff_ms": 0.0, "billed_ms": ms, "memory_time": 0.0, "weights_bytes": 0,
            "peak_activation_bytes": 0,
        });
        json!({
            "slice": name, "size": size, "limits": { "memory": true, "cpu": true }, "attempts": 1,
            "measured": measured, "memory_time": 0.1, "transport_ms": 0.1, "handoff_bytes": 2000,
            "predicted": predicted,
        })
    };
    let slices: Vec<Value> = slices.iter().map(part).collect();
    json!({
        "header": { "format": "tranche-bill", "version": 1 }, "deployment": "toy", "engine": "tract",
        "requests": 1, "slices": slices, "latency_ms": 400.0, "billed_ms": 400.0, "memory_time": 0.1,
        "predicted_memory_time": 0.1, "predicted_latency_ms": 400.0,
    })
}

fn said(place: &Place, arguments: &[&str]) -> String {
    let output = place.tranche(arguments).output().unwrap();
    let (out, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    format!(
        "$ tranche {}\n{out}--- stderr\n{error}--- exit code {:?}",
        arguments.join(" "),
        output.status.code()
    )
}
