//! Laws of the walk on random graphs of functions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tranche_driver::{Action, DriverError, Event, Failure, GiveUp, Retry, RetryPolicy, Walk, WalkPlan};

mod common;
use common::{deployment, spec};

/// A function's inputs as positions among the tensors made before it, and its number of outputs.
type Shape = Vec<(Vec<usize>, usize)>;

/// A deployment of functions `f0`, `f1`, … over tensors `t0`, `t1`, …; the first
/// `inputs` tensors are the model's inputs, what nobody reads is an output.
fn random_deployment(inputs: usize, shape: &Shape) -> tranche_schema::Deployment {
    let mut made: Vec<String> = (0..inputs).map(|index| format!("t{index}")).collect();
    let mut read = BTreeSet::new();
    let mut functions = Vec::new();
    for (index, (reads, writes)) in shape.iter().enumerate() {
        let names: BTreeSet<String> = reads.iter().map(|at| made[at % made.len()].clone()).collect();
        read.extend(names.iter().cloned());
        let outputs: Vec<String> = (0..*writes).map(|at| format!("t{}", made.len() + at)).collect();
        made.extend(outputs.iter().cloned());
        functions.push((format!("f{index}"), names.into_iter().collect::<Vec<_>>(), outputs));
    }
    let outputs: Vec<String> = made.iter().filter(|name| !read.contains(*name)).cloned().collect();
    let inputs: Vec<String> = made[..inputs].to_vec();
    deployment(&inputs, &outputs, &functions)
}

fn shapes() -> impl Strategy<Value = (usize, Shape)> {
    let function = (prop::collection::vec(any::<usize>(), 1..4), 1_usize..4);
    (1_usize..4, prop::collection::vec(function, 1..9))
}

/// What became of a request run in simulated time.
#[derive(Debug)]
enum End {
    Finished(Vec<String>),
    GaveUp(GiveUp),
}

struct Run {
    end: End,
    answered: HashMap<usize, u32>,
    /// Handed to the walk, less handed back, by tensor.
    balance: BTreeMap<String, i64>,
    ended_at: Duration,
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a walk; `fails(function, attempt)` decides each call, `order` which of
/// the calls in flight ends next. Every call takes ten milliseconds.
fn simulate(
    plan: &Arc<WalkPlan>,
    fails: impl Fn(usize, u32) -> Option<Retry>,
    order: impl Fn(usize) -> usize,
) -> Run {
    let mut walk = Walk::new(Arc::clone(plan), RetryPolicy::default(), DEADLINE, 7);
    let names: Vec<String> = plan.tensors.iter().map(|tensor| tensor.spec.name.clone()).collect();
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    let mut answered = HashMap::new();
    let mut flying: Vec<(usize, u32)> = Vec::new();
    let mut now = Duration::ZERO;
    let mut end = None;
    let inputs = names[..plan.input_count].to_vec();
    inputs.iter().for_each(|name| *balance.entry(name.clone()).or_default() += 1);
    let mut actions = walk.start(inputs);
    for step in 0.. {
        for action in actions.drain(..) {
            match action {
                Action::Ping { .. } => unreachable!("no function is doubted"),
                Action::Call { function, attempt, inputs } => {
                    let wanted: Vec<String> =
                        plan.functions[function].inputs.iter().map(|&at| names[at].clone()).collect();
                    assert_eq!(inputs, wanted, "called before its inputs are there");
                    assert!(!flying.iter().any(|(other, _)| *other == function), "called twice at once");
                    flying.push((function, attempt));
                }
                Action::Release(tensors) => {
                    tensors.into_iter().for_each(|name| *balance.get_mut(&name).unwrap() -= 1);
                }
                Action::Finished(outputs) => {
                    assert!(end.is_none() && flying.is_empty());
                    outputs.iter().for_each(|name| *balance.get_mut(name).unwrap() -= 1);
                    end = Some(End::Finished(outputs));
                }
                Action::GiveUp(why) => {
                    assert!(end.is_none());
                    end = Some(End::GaveUp(why));
                }
            }
        }
        if end.is_some() && flying.is_empty() {
            break;
        }
        let event = if flying.is_empty() {
            now = walk.next_tick().expect("neither over nor waiting");
            Event::Tick
        } else {
            now += Duration::from_millis(10);
            let (function, attempt) = flying.remove(order(step) % flying.len());
            match fails(function, attempt) {
                Some(retry) => Event::Failed {
                    function,
                    failure: Failure { reason: "refused".into(), retry, hint: None },
                },
                None => {
                    *answered.entry(function).or_default() += 1;
                    let outputs: Vec<String> =
                        plan.functions[function].outputs.iter().map(|&at| names[at].clone()).collect();
                    outputs.iter().for_each(|name| *balance.entry(name.clone()).or_default() += 1);
                    Event::Answered { function, outputs }
                }
            }
        };
        actions = walk.handle(now, event);
    }
    Run { end: end.unwrap(), answered, balance, ended_at: now }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn without_failures_every_function_runs_once((inputs, shape) in shapes(), seed in any::<usize>()) {
        let deployment = random_deployment(inputs, &shape);
        let plan = Arc::new(WalkPlan::new(&deployment).unwrap());
        let run = simulate(&plan, |_, _| None, |step| step.wrapping_mul(seed));
        let End::Finished(outputs) = run.end else { panic!("{:?}", run.end) };
        let wanted: Vec<_> = deployment.outputs.iter().map(|spec| spec.name.clone()).collect();
        prop_assert_eq!(outputs, wanted);
        prop_assert_eq!(run.answered, (0..shape.len()).map(|index| (index, 1)).collect::<HashMap<_, _>>());
        prop_assert!(run.balance.values().all(|left| *left == 0), "{:?}", run.balance);
    }

    #[test]
    fn with_failures_it_finishes_or_says_why(
        (inputs, shape) in shapes(),
        seed in any::<usize>(),
        tries in prop::collection::vec((1_u32..14, 0_u8..8), 9),
    ) {
        let plan = Arc::new(WalkPlan::new(&random_deployment(inputs, &shape)).unwrap());
        let most = RetryPolicy::default().max_attempts;
        let fails = |function: usize, attempt: u32| {
            let (good_try, kind) = tries[function];
            (attempt < good_try).then_some(match kind {
                0 => Retry::Never,
                1 => Retry::After(Duration::from_millis(700)),
                _ => Retry::Later,
            })
        };
        let run = simulate(&plan, fails, |step| step.wrapping_mul(seed));
        prop_assert!(run.balance.values().all(|left| *left == 0), "{:?}", run.balance);
        match run.end {
            End::Finished(_) => prop_assert!((0..shape.len()).all(|index| tries[index].0 <= most)),
            End::GaveUp(GiveUp::Failed { function, attempts, failure }) => {
                let (good_try, kind) = tries[function];
                prop_assert!(attempts < good_try && (attempts == most || kind == 0));
                prop_assert_eq!(failure.reason, "refused");
            }
            End::GaveUp(GiveUp::Deadline { waiting }) => prop_assert!(!waiting.is_empty()),
        }
        prop_assert!(run.ended_at <= DEADLINE + Duration::from_millis(200));
    }

    #[test]
    fn abandoning_hands_everything_back((inputs, shape) in shapes(), steps in 0_usize..12) {
        let plan = Arc::new(WalkPlan::new(&random_deployment(inputs, &shape)).unwrap());
        let mut walk = Walk::new(Arc::clone(&plan), RetryPolicy::default(), DEADLINE, 1);
        let count = |actions: &[Action<u32>]| -> i64 {
            actions.iter().map(|action| match action {
                Action::Release(tensors) | Action::Finished(tensors) => tensors.len() as i64,
                _ => 0,
            }).sum()
        };
        let mut actions = walk.start(vec![0; plan.input_count]);
        let mut held = plan.input_count as i64 - count(&actions);
        for _ in 0..steps {
            let Some(Action::Call { function, .. }) =
                actions.iter().rev().find(|action| matches!(action, Action::Call { .. })) else { break };
            let function = *function;
            let outputs = vec![0; plan.functions[function].outputs.len()];
            held += outputs.len() as i64;
            actions = walk.handle(Duration::ZERO, Event::Answered { function, outputs });
            held -= count(&actions);
        }
        prop_assert_eq!(walk.abandon().len() as i64, held);
    }
}

#[test]
fn functions_that_do_not_wait_for_each_other_fly_together() {
    let functions = [
        ("left".to_owned(), vec!["x".to_owned()], vec!["l".to_owned()]),
        ("right".to_owned(), vec!["x".to_owned()], vec!["r".to_owned()]),
        ("join".to_owned(), vec!["l".to_owned(), "r".to_owned()], vec!["y".to_owned()]),
    ];
    let plan = WalkPlan::new(&deployment(&["x".into()], &["y".into()], &functions)).unwrap();
    let mut walk = Walk::new(Arc::new(plan), RetryPolicy::default(), DEADLINE, 1);
    let called = |actions: &[Action<&str>]| -> Vec<usize> {
        actions
            .iter()
            .filter_map(|action| match action {
                Action::Call { function, .. } => Some(*function),
                _ => None,
            })
            .collect()
    };
    assert_eq!(called(&walk.start(vec!["x"])), [0, 1]);
    let answered = |function, outputs| Event::Answered { function, outputs };
    assert_eq!(called(&walk.handle(Duration::ZERO, answered(1, vec!["r"]))), [] as [usize; 0]);
    assert_eq!(called(&walk.handle(Duration::ZERO, answered(0, vec!["l"]))), [2]);
}

#[test]
fn waits_double_up_to_the_longest_and_stay_above_half() {
    let policy = RetryPolicy::default();
    for seed in 0..200 {
        for (attempt, whole) in [(1, 50), (2, 100), (3, 200), (6, 1600), (7, 2000), (u32::MAX, 2000)] {
            let wait = policy.wait(attempt, seed).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "try {attempt}: {wait} ms");
        }
    }
}

#[test]
fn the_wait_a_function_asks_for_is_kept() {
    let functions = [("f".to_owned(), vec!["x".to_owned()], vec!["y".to_owned()])];
    let plan = Arc::new(WalkPlan::new(&deployment(&["x".into()], &["y".into()], &functions)).unwrap());
    let mut walk = Walk::new(Arc::clone(&plan), RetryPolicy::default(), DEADLINE, 1);
    walk.start(vec!["x"]);
    let failed = |wait| Event::Failed {
        function: 0,
        failure: Failure { reason: "busy".into(), retry: Retry::After(wait), hint: None },
    };
    walk.handle(Duration::ZERO, failed(Duration::from_secs(3)));
    assert_eq!(walk.next_tick(), Some(Duration::from_secs(3)));
    assert!(walk.handle(Duration::from_millis(2999), Event::Tick).is_empty());
    let actions = walk.handle(Duration::from_secs(3), Event::Tick);
    assert!(matches!(actions[..], [Action::Call { attempt: 2, .. }]));
    // A wait beyond the deadline ends the request at once.
    let actions = walk.handle(Duration::from_secs(4), failed(Duration::from_secs(60)));
    assert!(matches!(&actions[..], [Action::Release(_), Action::GiveUp(GiveUp::Deadline { waiting })]
        if waiting[0].1.as_ref().unwrap().reason == "busy"));
}

#[test]
fn contradictions_are_named() {
    let f = |name: &str, reads: &[&str], writes: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        (name.to_owned(), own(reads), own(writes))
    };
    let reason = |functions: &[_]| match WalkPlan::new(&deployment(&["x".into()], &["y".into()], functions)) {
        Err(DriverError::Deployment { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(reason(&[f("a", &["x"], &["z"])]), @"output `y` of the model is made by no function");
    insta::assert_snapshot!(reason(&[f("a", &["y"], &["y"])]), @"`a` reads tensor `y`, which nothing before it makes");
    insta::assert_snapshot!(reason(&[f("a", &["x"], &["y"]), f("b", &["x"], &["y"])]), @"tensor `y` is made more than once");
    insta::assert_snapshot!(reason(&[f("a", &["x"], &["y"]), f("a", &["x"], &["z"])]), @"two functions run `a`");
    insta::assert_snapshot!(reason(&[f("a", &["x", "x"], &["y"])]), @"`a` reads tensor `x` twice");
    let mut wrong = deployment(&["x".into()], &["y".into()], &[f("a", &["x"], &["y"])]);
    wrong.functions[0].inputs[0] = spec("x", &[9]);
    let error = WalkPlan::new(&wrong).unwrap_err();
    insta::assert_snapshot!(error, @"deployment `test` cannot be walked: `a` reads tensor `x` float32 [9], it is made as `x` float32 [4]");
}

/// What a walk asks for at its start when it doubts these functions: the pings, and the rest.
fn begun(plan: &Arc<WalkPlan>, doubted: Vec<usize>) -> (Vec<usize>, String) {
    let walk = Walk::new(Arc::clone(plan), RetryPolicy::default(), DEADLINE, 7);
    let inputs = plan.tensors.iter().take(plan.input_count).map(|tensor| tensor.spec.name.clone()).collect();
    let (mut pings, mut rest) = (Vec::new(), Vec::new());
    for action in walk.doubting(doubted).start(inputs) {
        match action {
            Action::Ping { function } => {
                assert!(rest.is_empty(), "a ping waits for a call");
                pings.push(function);
            }
            other => rest.push(format!("{other:?}")),
        }
    }
    (pings, rest.join("\n"))
}

proptest! {
    #[test]
    fn all_that_are_doubted_and_not_called_at_once_are_pinged_at_once(
        (inputs, shape) in shapes(),
        doubts in prop::collection::vec(any::<bool>(), 9),
    ) {
        let plan = Arc::new(WalkPlan::new(&random_deployment(inputs, &shape)).unwrap());
        let (none, calls) = begun(&plan, Vec::new());
        prop_assert!(none.is_empty());
        let doubted: Vec<usize> = (0..plan.functions.len()).filter(|&index| doubts[index]).collect();
        let (pings, same_calls) = begun(&plan, doubted.clone());
        // Pings change nothing of the walk.
        prop_assert_eq!(calls, same_calls);
        let first = |index: &usize| plan.functions[*index].inputs.iter().all(|&at| at < plan.input_count);
        let expected: Vec<usize> = doubted.into_iter().filter(|index| !first(index)).collect();
        prop_assert_eq!(pings, expected);
    }
}
