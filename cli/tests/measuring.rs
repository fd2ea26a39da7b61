//! What `profile` and `run` measure, on small real models.
//!
//! Where this machine cannot limit CPU or memory, less is measured, and the tests look at that.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod support;

use support::Place;
use tranche_host::Cgroups;
use tranche_schema::{ByteCount, Document as _, LimitsEnforced, Plan, Profile};

fn limits() -> LimitsEnforced {
    Cgroups::detect().available()
}

fn profiled(place: &Place, flags: &[&str]) -> Profile {
    place.json(&[&["profile", "gcn_cora", "--repeats", "1"], flags].concat());
    Profile::read(&place.path("profile.json")).unwrap()
}

fn shares(profile: &Profile) -> Vec<u32> {
    profile.whole.shares.iter().map(|sample| sample.cpu.0).collect()
}

#[test]
fn a_model_is_measured_at_shares_in_little_memory_and_from_its_start() {
    let place = Place::measuring();
    let profile = profiled(&place, &["--shares", "0.5,1"]);
    let whole = &profile.whole;
    assert_eq!(shares(&profile), if limits().cpu { vec![500, 1000] } else { vec![1000] });
    assert!(whole.start_up_ms.unwrap() > whole.load_ms);
    assert_eq!(whole.memory_limit_bytes.is_some(), limits().memory);
    if let Some(limit) = whole.memory_limit_bytes {
        assert_eq!(limit.0 % ByteCount::mebibytes(16).0, 0);
        assert!(limit.0 < whole.peak_memory_bytes.0 * 2);
    }
    let link = profile.link.unwrap();
    assert!(link.per_request_ms.0 > 0.0 && link.per_request_ms.0 < 1000.0, "{link:?}");
    assert!(profile.layers.iter().all(|layer| layer.scaling.is_none()), "tract has one thread");
}

#[test]
fn what_is_left_out_is_not_measured_and_is_another_profile_in_the_cache() {
    let place = Place::measuring();
    let little = profiled(&place, &["--shares", "none", "--no-memory-search"]);
    assert_eq!(shares(&little), [1000]);
    assert_eq!(little.whole.memory_limit_bytes, None);
    let more = profiled(&place, &["--shares", "1", "--no-memory-search"]);
    assert_ne!(little.whole, more.whole);
    assert_eq!(profiled(&place, &["--shares", "none", "--no-memory-search"]), little);
}

#[test]
fn a_plan_says_how_far_it_was_from_what_was_measured() {
    let place = Place::measuring();
    place.json(&["run", "gcn_cora", "--min-slices", "2", "--requests", "1", "--no-unsplit", "--work", "."]);
    let plan = Plan::read(&place.path("plan.json")).unwrap();
    let profile = Profile::read(&place.path("profile.json")).unwrap();
    assert_eq!(place.json(&["status"]), serde_json::json!([]));
    if !(limits().cpu && limits().memory) {
        assert_eq!(plan.residual, None);
        return;
    }
    let residual = plan.residual.unwrap();
    assert!((1..=3).contains(&residual.rounds), "{residual:?}");
    assert!(residual.rounds == 3 || residual.relative().abs() <= 0.05, "{residual:?}");
    for slice in &plan.slices {
        let known = profile.slices.iter().rfind(|known| known.layers == slice.layers).unwrap();
        assert!(known.billed.unwrap().median_ms.0 > 0.0);
    }
}

#[test]
fn shares_that_there_are_not_are_refused() {
    let place = Place::measuring();
    for wrong in ["0", "half", "0.5,100000", ""] {
        let (code, error) = place.failure(&["profile", "gcn_cora", "--shares", wrong]);
        assert_eq!(code, 2, "{error}");
    }
}
