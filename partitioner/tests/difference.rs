//! Two plans side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{MIB, chain};
use tranche_partitioner::difference::{SliceChange, compare, markdown, render};
use tranche_partitioner::{CostModel, partition};
use tranche_schema::{Constraints, Digest, Millis, Plan};

/// Slow and light layers, then fast and heavy ones, cut by this strategy.
fn plan(strategy: &str) -> Plan {
    let problem = chain(&[
        (40.0, MIB, 3 * MIB),
        (60.0, 2 * MIB, 2 * MIB),
        (50.0, 4 * MIB, MIB),
        (5.0, 400 * MIB, MIB / 64),
        (3.0, 200 * MIB, MIB / 64),
    ]);
    let strategy = strategy.parse().unwrap();
    partition(&problem, &CostModel::of(&problem), &strategy, &Constraints::default()).unwrap()
}

#[test]
fn a_difference_as_text() {
    insta::assert_snapshot!(render(&compare(&plan("unsplit"), &plan("manual=layer_0,layer_2"))));
}

#[test]
fn a_difference_as_markdown() {
    insta::assert_snapshot!(markdown(&compare(&plan("manual=layer_0,layer_2"), &plan("manual=layer_2"))));
}

#[test]
fn a_plan_is_as_itself_whatever_it_predicts() {
    let base = plan("optimal");
    let mut head = base.clone();
    head.prediction.latency_ms = Millis(base.prediction.latency_ms.0 * 2.0);
    head.slices[0].prediction.billed_ms = Millis(1.0);
    let found = compare(&base, &head);
    assert!(found.same);
    assert_eq!(found.latency_ratio, Some(2.0));
    assert!(found.slices.iter().all(|slice| slice.change == SliceChange::Same));
    assert!(found.cuts_added.is_empty() && found.cuts_removed.is_empty());
}

#[test]
fn each_change_of_a_function_is_one() {
    let base = plan("manual=layer_2");
    let changes: [fn(&mut Plan); 6] = [
        |plan| plan.slices[1].size.memory_bytes.0 += MIB,
        |plan| plan.slices[1].size.cpu_milli.0 += 1,
        |plan| plan.slices[1].threads += 1,
        |plan| plan.slices[1].nodes.push("node".to_owned()),
        |plan| plan.slices[1].inputs[0].shape = vec![7],
        |plan| plan.slices[1].outputs.clear(),
    ];
    for change in changes {
        let mut head = base.clone();
        change(&mut head);
        let found = compare(&base, &head);
        assert!(!found.same);
        let kinds: Vec<_> = found.slices.iter().map(|slice| slice.change).collect();
        assert_eq!(kinds, [SliceChange::Same, SliceChange::Changed]);
    }
}

#[test]
fn other_models_engines_and_edges_are_no_same_functions() {
    let base = plan("manual=layer_2");
    let changes: [fn(&mut Plan); 3] = [
        |plan| plan.model.digest = Digest::of(b"other"),
        |plan| plan.engine = "onnxruntime".to_owned(),
        |plan| plan.edges[0].codec = tranche_schema::Codec::Zstd,
    ];
    for change in changes {
        let mut head = base.clone();
        change(&mut head);
        assert!(!compare(&base, &head).same);
    }
}

#[test]
fn what_one_plan_adds_the_other_removes() {
    let (whole, cut) = (plan("unsplit"), plan("manual=layer_0,layer_2"));
    let (there, back) = (compare(&whole, &cut), compare(&cut, &whole));
    assert_eq!(there.cuts_added, ["layer_0", "layer_2"]);
    assert_eq!((&there.cuts_added, &there.cuts_removed), (&back.cuts_removed, &back.cuts_added));
    let of = |found: &tranche_partitioner::difference::PlanDifference, change| {
        found.slices.iter().filter(|slice| slice.change == change).count()
    };
    assert_eq!((of(&there, SliceChange::Added), of(&back, SliceChange::Removed)), (2, 2));
    let product = there.memory_time_ratio.unwrap() * back.memory_time_ratio.unwrap();
    assert!((product - 1.0).abs() < 1e-12);
}

#[test]
fn a_name_in_a_model_writes_no_markdown() {
    let mut head = plan("manual=layer_2");
    head.model.name = "a|b\n# <img src=x> [c](d) `e` *f*".to_owned();
    head.slices[0].layers = vec!["x`|y".to_owned()];
    let text = markdown(&compare(&plan("unsplit"), &head));
    assert!(text.starts_with("### a&#124;b # &lt;img src=x&gt; &#91;c&#93;(d) 'e' &#42;f&#42;: "), "{text}");
    assert!(text.contains("| x'&#124;y |"), "{text}");
    assert!(text.lines().filter(|line| line.starts_with('#')).count() == 1, "{text}");
}
