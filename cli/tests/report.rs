//! `tranche compare` and `tranche report` through the real program: every plan, layer,
//! cut, slice and bill is on the page, whatever they are called.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::json;
use std::path::Path;
use support::Place;
use tranche_schema::{
    Bill, ByteCount, Comparison, CostUnit, Digest, Document, Frontier, FrontierPoint, FunctionMetrics,
    GibSeconds, LimitsEnforced, Millis, Plan, PlanPricing, Profile, ResourceDominance, SliceBill,
};

/// Text that ends an attribute, an element and a style sheet where it is not escaped.
const HOSTILE: &str = "</title></style>\"'><script>alert(1)</script><img src=\"http://example.org/\">&amp;";

#[test]
fn the_page_holds_every_plan_layer_cut_and_bill() {
    let place = planned();
    change(&place, |plan, profile| {
        priced(plan);
        profile.layers[2].resource_dominant = Some(ResourceDominance { time: true, memory: true });
        profile.layers[5].resource_dominant = Some(ResourceDominance { time: true, memory: false });
        for layer in profile.layers.iter_mut().enumerate().filter(|(at, _)| ![2, 5].contains(at)) {
            layer.1.resource_dominant = None;
        }
    });
    let plan = read::<Plan>(&place, "plan.json");
    bill(&place, &plan);
    compared(&place);
    let summary = place.json(&["report", "--bill", "bill.json", "--compare", "compare.json"]);
    assert_eq!(summary["path"], "report.html");
    assert_eq!(
        summary["strategies"],
        json!(["manual=MatMul_12,MatMul_24", "optimal", "uniform=2", "unsplit"])
    );
    assert_eq!([&summary["slices"], &summary["layers"], &summary["frontier"]], [3, 9, 3]);
    let page = text(&place, "report.html");
    let page = parsed(&page);
    let count = |selector| elements(&page, selector);
    assert_eq!(count("svg"), 3);
    assert_eq!(
        [count("circle.point"), count("circle.ring"), count("g.plan"), count("polyline.line")],
        [3, 1, 4, 1]
    );
    assert_eq!([count("g.bar"), count("rect.part")], [4, 3 + 2 + 2 + 1]);
    assert_eq!(
        [count("g.layer"), count("line.cut"), count("line.limit"), count("path.dominant")],
        [9, 2, 3, 3]
    );
    assert_eq!(
        rows(&page),
        [
            ("Slices", 3),
            ("Strategies", 5),
            ("Bill of gcn, median of 5 requests", 5),
            ("What passes between functions", plan.edges.len())
        ]
        .map(|(title, count)| (title.to_owned(), count))
    );
}

#[test]
fn names_out_of_a_model_stay_text() {
    let place = planned();
    change(&place, |plan, profile| {
        priced(plan);
        let layer = profile.layers[0].name.clone();
        profile.layers[0].name = HOSTILE.to_owned();
        profile.layers[0].kind = HOSTILE.to_owned();
        profile.environment.cpu_model = HOSTILE.to_owned();
        let name = plan.slices[0].layers.iter_mut().find(|name| **name == layer).unwrap();
        HOSTILE.clone_into(name);
        HOSTILE.clone_into(&mut plan.slices[0].name);
        HOSTILE.clone_into(&mut plan.slices[0].reason);
        HOSTILE.clone_into(&mut plan.model.name);
        HOSTILE.clone_into(&mut plan.strategy);
        HOSTILE.clone_into(&mut plan.pricing.name);
        HOSTILE.clone_into(&mut plan.pricing.date);
        HOSTILE.clone_into(&mut plan.edges[0].tensor.name);
        plan.edges[0].from = Some(HOSTILE.to_owned());
        plan.notes.push(HOSTILE.to_owned());
    });
    place.json(&["report"]);
    let html = text(&place, "report.html");
    let page = parsed(&html);
    for element in ["script", "img"] {
        assert_eq!(elements(&page, element), 0, "{element}");
    }
    assert_eq!([elements(&page, "title"), elements(&page, "style")], [1 + titles(&html), 1]);
    assert_eq!(elements(&page, "g.layer"), 9);
}

#[test]
fn a_plan_of_an_older_version_has_a_page_too() {
    let place = planned();
    let mut plan: serde_json::Value = serde_json::from_str(&text(&place, "plan.json")).unwrap();
    for new in ["pricing", "workload", "order", "frontier"] {
        plan.as_object_mut().unwrap().remove(new);
    }
    std::fs::write(place.path("plan.json"), plan.to_string()).unwrap();
    place.json(&["report", "plan.json", "-o", "old/page.html"]);
    let html = text(&place, "old/page.html");
    let page = parsed(&html);
    assert_eq!([elements(&page, "circle.point"), elements(&page, "g.plan")], [0, 2]);
    assert!(html.contains("no frontier"));
}

#[test]
fn the_whole_model_in_one_function_has_a_page_too() {
    let place = planned();
    place.json(&["partition", "gcn_cora", "--strategy", "unsplit"]);
    place.json(&["report"]);
    let html = text(&place, "report.html");
    let page = parsed(&html);
    assert_eq!([elements(&page, "g.plan"), elements(&page, "line.cut"), elements(&page, "g.bar")], [1, 0, 1]);
}

#[test]
fn files_of_something_else_are_refused_and_nothing_is_written() {
    let place = planned();
    let plan = read::<Plan>(&place, "plan.json");
    let refused = |arguments: &[&str]| {
        let (code, error) = place.failure(&[&["report"], arguments].concat());
        assert!(!place.path("report.html").exists());
        (code, error["message"].as_str().unwrap().to_owned())
    };
    bill(&place, &Plan { slices: plan.slices[1..].to_vec(), ..plan.clone() });
    assert_eq!(
        refused(&["--bill", "bill.json"]),
        (20, "bill.json bills 2 slice(s), the plan has 3 of other names or in another order".to_owned())
    );
    assert_eq!(refused(&["none.json"]).0, 2);
    assert_eq!(refused(&["--bill", "plan.json"]).0, 20);
    assert_eq!(refused(&["--compare", "plan.json"]).0, 20);
    let mut other = plan.clone();
    other.slices[0].layers[0] = "elsewhere".to_owned();
    other.write(&place.path("other.json")).unwrap();
    assert_eq!(
        refused(&["other.json"]),
        (20, "the profile has no layer `elsewhere`, which the plan has".to_owned())
    );
    other.model.digest = Digest::of(b"another model");
    other.write(&place.path("other.json")).unwrap();
    let (code, message) = refused(&["other.json"]);
    assert!(code == 20 && message.starts_with("profile.json is a profile of "), "{message}");
}

#[test]
fn every_strategy_is_compared_through_one_plan_type() {
    let place = planned();
    let found = place.json(&["compare", "gcn_cora", "--strategy", "manual=MatMul_12"]);
    let comparison = Comparison::from_json(&found.to_string(), Path::new("compare.json")).unwrap();
    let names: Vec<&str> = comparison.strategies.iter().map(|row| row.strategy.as_str()).collect();
    let usual = |name: &&str| ["optimal", "similarity", "unsplit", "manual=MatMul_12"].contains(name);
    assert_eq!(names.iter().filter(|name| usual(name)).count(), 4, "{names:?}");
    let optimum = comparison.strategies[0].plan.as_ref().unwrap();
    assert!(names.contains(&format!("uniform={}", optimum.slices.len().max(2)).as_str()), "{names:?}");
    for row in &comparison.strategies {
        let (plan, figures) = (row.plan.as_ref().unwrap(), row.figures.unwrap());
        assert_eq!(plan.strategy, row.strategy);
        assert_eq!(figures.slices as usize, plan.slices.len());
        assert!(figures.cost >= comparison.strategies[0].figures.unwrap().cost, "{}", row.strategy);
        assert!(figures.cost_over_lower_bound.unwrap() >= 1.0 - 1e-9, "{}", row.strategy);
    }
    let unsplit = comparison.strategies.iter().find(|row| row.strategy == "unsplit").unwrap();
    assert_eq!(unsplit.figures.unwrap().cost_over_unsplit, Some(1.0));
}

#[test]
fn a_strategy_that_breaks_a_constraint_says_which() {
    let place = planned();
    let found = place.json(&["compare", "gcn_cora", "--max-slices", "1"]);
    let rows = found["strategies"].as_array().unwrap();
    let uniform = rows.iter().find(|row| row["strategy"] == "uniform=2").unwrap();
    assert!(uniform["plan"].is_null() && uniform["figures"].is_null());
    let message = uniform["refusal"]["message"].as_str().unwrap();
    assert!(message.ends_with("it has 2 slices, max-slices is 1"), "{message}");
    let (code, error) = place.failure(&["compare", "gcn_cora", "--max-memory", "1"]);
    assert_eq!(code, 30, "{error}");
}

/// A profile and a plan of three slices.
fn planned() -> Place {
    let place = Place::new();
    place.json(&["profile", "gcn_cora", "--repeats", "1"]);
    place.json(&["partition", "gcn_cora", "--strategy", "manual=MatMul_12,MatMul_24"]);
    place
}

fn text(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

fn read<T: Document>(place: &Place, name: &str) -> T {
    T::read(&place.path(name)).unwrap()
}

/// Changes both files where they lie.
fn change(place: &Place, how: impl FnOnce(&mut Plan, &mut Profile)) {
    let (mut plan, mut profile) = (read(place, "plan.json"), read(place, "profile.json"));
    how(&mut plan, &mut profile);
    plan.write(&place.path("plan.json")).unwrap();
    profile.write(&place.path("profile.json")).unwrap();
}

/// Prices, a frontier of three plans and cold starts.
fn priced(plan: &mut Plan) {
    let price = 0.000_016_67;
    plan.pricing = PlanPricing {
        name: "somewhere".to_owned(),
        date: "2026-11-25".to_owned(),
        unit: CostUnit::Usd,
        ..PlanPricing::default()
    };
    for slice in &mut plan.slices {
        slice.prediction.cost = slice.prediction.memory_time.0 * price;
        slice.prediction.start_up_ms = Millis(80.0);
        slice.without_cut = Some(0.25);
    }
    let prediction = &mut plan.prediction;
    prediction.cost = prediction.memory_time.0 * price;
    prediction.unsplit_cost = prediction.cost * 1.7;
    prediction.cost_lower_bound = prediction.cost * 0.8;
    (prediction.cold_latency_ms, prediction.unsplit_cold_latency_ms) = (Millis(310.0), Millis(1400.0));
    let point = |slower: f64, dearer: f64, chosen| FrontierPoint {
        cost: prediction.cost * dearer,
        latency_ms: Millis(prediction.latency_ms.0 * slower),
        slices: 3,
        chosen,
        ..FrontierPoint::default()
    };
    plan.frontier = Frontier {
        complete: true,
        points: vec![point(0.7, 1.5, false), point(1.0, 1.0, true), point(1.4, 0.9, false)],
    };
}

/// The plan billed, five requests.
fn bill(place: &Place, plan: &Plan) {
    let slices = plan.slices.iter().map(|slice| SliceBill {
        slice: slice.name.clone(),
        size: slice.size,
        limits: LimitsEnforced { memory: true, cpu: true },
        attempts: 1,
        measured: FunctionMetrics {
            slice: slice.name.clone(),
            billed_ms: Millis(11.0),
            run_ms: Millis(10.0),
            peak_memory_bytes: ByteCount::mebibytes(20),
            ..FunctionMetrics::default()
        },
        memory_time: GibSeconds(0.001),
        transport_ms: Millis(1.0),
        handoff_bytes: ByteCount(1000),
        predicted: slice.prediction,
        lambda: None,
    });
    let bill = Bill {
        header: Bill::header(),
        deployment: "gcn".to_owned(),
        engine: "tract".to_owned(),
        requests: 5,
        slices: slices.collect(),
        latency_ms: Millis(40.0),
        billed_ms: Millis(33.0),
        memory_time: GibSeconds(0.003),
        predicted_memory_time: plan.prediction.memory_time,
        predicted_latency_ms: plan.prediction.latency_ms,
        lambda: None,
    };
    let whole = Bill { slices: bill.slices[..1].to_vec(), ..bill.clone() };
    let both = json!({ "model": "gcn_cora", "bill": bill, "unsplit_bill": whole });
    std::fs::write(place.path("bill.json"), both.to_string()).unwrap();
}

/// Other strategies at the plan's prices: two plans of two slices, one that is refused, the whole.
fn compared(place: &Place) {
    let pricing = read::<Plan>(place, "plan.json").pricing;
    let found = place.json(&["compare", "gcn_cora", "--strategy", "manual=MatMul_12"]);
    let mut comparison = Comparison::from_json(&found.to_string(), Path::new("compare.json")).unwrap();
    let row = |name: &str| comparison.strategies.iter().find(|row| row.strategy == name).unwrap().clone();
    let (two, whole) = (row("manual=MatMul_12"), row("unsplit"));
    let named = |name: &str, row: &tranche_schema::ComparedStrategy| {
        let mut row = row.clone();
        name.clone_into(&mut row.strategy);
        pricing.name.clone_into(&mut row.prices);
        if let Some(plan) = &mut row.plan {
            plan.pricing = pricing.clone();
            plan.prediction.cost = 1e-7;
            plan.slices.iter_mut().for_each(|slice| slice.prediction.cost = 5e-8);
        }
        row
    };
    let mut refused = named("similarity", &two);
    (refused.plan, refused.figures) = (None, None);
    refused.refusal = Some(tranche_schema::Refusal { message: "breaks a constraint".to_owned(), hint: None });
    let elsewhere = two.clone();
    comparison.strategies =
        vec![named("optimal", &two), refused, named("uniform=2", &two), named("unsplit", &whole), elsewhere];
    comparison.write(&place.path("compare.json")).unwrap();
}

/// A page that needs nothing from elsewhere and has no script.
fn parsed(html: &str) -> tl::VDom<'_> {
    let page = tl::parse(html, tl::ParserOptions::default()).unwrap();
    assert_eq!(page.version(), Some(tl::HTMLVersion::HTML5));
    for element in ["script", "link", "img", "iframe", "object", "embed", "image", "use"] {
        assert_eq!(elements(&page, element), 0, "{element}");
    }
    let attributes = page.nodes().iter().filter_map(|node| node.as_tag()).flat_map(|tag| {
        tag.attributes()
            .iter()
            .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().into_owned()))
            .collect::<Vec<_>>()
    });
    for (name, value) in attributes {
        assert!(
            !["src", "href", "xlink:href", "srcset", "data"].contains(&name.as_str())
                && !name.starts_with("on"),
            "{name}={value}"
        );
        assert!(!value.contains("NaN") && !value.contains("inf") || name == "aria-label", "{name}={value}");
    }
    for outside in ["url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
    page
}

fn elements(page: &tl::VDom<'_>, selector: &'static str) -> usize {
    page.query_selector(selector).unwrap().count()
}

/// Titles of drawings and of what is in them.
fn titles(html: &str) -> usize {
    let (_, body) = html.split_once("<body>").unwrap();
    body.matches("<title>").count()
}

/// Tables with their headings and the number of their rows.
fn rows(page: &tl::VDom<'_>) -> Vec<(String, usize)> {
    let parser = page.parser();
    let headings = page
        .query_selector("h2")
        .unwrap()
        .map(|heading| heading.get(parser).unwrap().inner_text(parser).into_owned());
    let headings: Vec<String> =
        headings.filter(|name| !["Layers", "Notes"].contains(&name.as_str())).collect();
    let counts = page.query_selector("tbody").unwrap().map(|body| {
        let body = body.get(parser).unwrap();
        let rows = body.as_tag().unwrap().query_selector(parser, "tr").unwrap();
        rows.count()
    });
    headings.into_iter().zip(counts).collect()
}
