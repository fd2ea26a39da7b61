//! The walk of one request through the functions, as a state machine without
//! input or output: events go in, actions come out, time is an argument.
//!
//! Functions form a directed acyclic graph; each is called as soon as all it
//! reads is there, so several may be in flight at once. Slices are pure, so a
//! call that may not have run, or not to its end, is tried again. A tensor is
//! kept until its last reader has answered, then released.

use crate::plan::{FunctionIndex, RetryPolicy, TensorIndex, WalkPlan, mix};
use std::sync::Arc;
use std::time::Duration;

/// Why a call failed, as the walk sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, for people.
    pub reason: String,
    /// Whether another try may succeed.
    pub retry: Retry,
    /// What to do about it, where more is known than for failures in general.
    pub hint: Option<String>,
}

/// Whether another try of a call may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: the same request gives the same failure.
    Never,
    /// After the wait that the policy gives.
    Later,
    /// Not before this long, as the function asked.
    After(Duration),
}

/// What the walk is told. `P` is a tensor on its way: coded bytes or a lease.
#[derive(Clone, Debug)]
pub enum Event<P> {
    /// A function answered with all its outputs, in its order.
    Answered {
        /// The function.
        function: FunctionIndex,
        /// What it wrote.
        outputs: Vec<P>,
    },
    /// A call failed.
    Failed {
        /// The function.
        function: FunctionIndex,
        /// Why.
        failure: Failure,
    },
    /// Time went by.
    Tick,
}

/// What the walk asks for.
#[derive(Clone, Debug)]
pub enum Action<P> {
    /// Ask a function whether it is ready, so that its platform starts it while others run. Nothing
    /// waits for the answer, which is no event.
    Ping {
        /// The function.
        function: FunctionIndex,
    },
    /// Call a function with these inputs, in its order.
    Call {
        /// The function.
        function: FunctionIndex,
        /// Which try this is, from 1.
        attempt: u32,
        /// What it reads.
        inputs: Vec<P>,
    },
    /// Nobody needs these tensors any more.
    Release(Vec<P>),
    /// The request is done: the outputs of the model, in their order. Whoever
    /// takes them releases them.
    Finished(Vec<P>),
    /// The request failed; nothing more is called. Answers that still come are
    /// only released.
    GiveUp(GiveUp),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// A function failed for good, or too often.
    Failed {
        /// The function.
        function: FunctionIndex,
        /// Tries made.
        attempts: u32,
        /// The last failure.
        failure: Failure,
    },
    /// The deadline passed, or would pass before the next try.
    Deadline {
        /// Functions called or to be called again, with their last failures.
        waiting: Vec<(FunctionIndex, Option<Failure>)>,
    },
}

#[derive(Clone, Debug)]
enum State {
    /// Not all it reads is there.
    Blocked {
        missing: usize,
    },
    InFlight {
        attempt: u32,
    },
    Waiting {
        attempt: u32,
        until: Duration,
    },
    Done {
        attempts: u32,
    },
}

struct Held<P> {
    payload: P,
    readers_left: usize,
}

/// One request on its way. Times are counted from its start.
pub struct Walk<P> {
    plan: Arc<WalkPlan>,
    policy: RetryPolicy,
    deadline: Duration,
    seed: u64,
    states: Vec<State>,
    last_failures: Vec<Option<Failure>>,
    held: Vec<Option<Held<P>>>,
    doubtful: Vec<FunctionIndex>,
    over: bool,
}

impl<P: Clone> Walk<P> {
    /// A walk that gives up `deadline` after its start. `seed` spreads the waits
    /// of several callers.
    #[must_use]
    pub fn new(plan: Arc<WalkPlan>, policy: RetryPolicy, deadline: Duration, seed: u64) -> Self {
        let states =
            plan.functions.iter().map(|function| State::Blocked { missing: function.inputs.len() }).collect();
        let last_failures = vec![None; plan.functions.len()];
        let held = plan.tensors.iter().map(|_| None).collect();
        let doubtful = Vec::new();
        Self { plan, policy, deadline, seed, states, last_failures, held, doubtful, over: false }
    }

    /// The same walk over functions of which these are not known to run: those of them that are not
    /// called at the start are pinged then.
    #[must_use]
    pub fn doubting(mut self, functions: Vec<FunctionIndex>) -> Self {
        self.doubtful = functions;
        self
    }

    /// Begins with the inputs of the model, in their order (as many as
    /// [`WalkPlan::input_count`]).
    pub fn start(&mut self, inputs: Vec<P>) -> Vec<Action<P>> {
        let mut actions = Vec::new();
        let plan = Arc::clone(&self.plan);
        for index in 0..plan.functions.len() {
            if plan.functions.get(index).is_some_and(|function| function.inputs.is_empty()) {
                self.call(index, 1, &mut actions);
            }
        }
        let made: Vec<TensorIndex> = (0..plan.input_count).collect();
        self.make(&made, inputs, &mut actions);
        self.finish_if_done(&mut actions);
        // A ping is a few bytes, and may start what takes longest: it is not kept waiting by inputs.
        let blocked =
            |function: &FunctionIndex| matches!(self.states.get(*function), Some(State::Blocked { .. }));
        let pings = self.doubtful.iter().filter(|function| blocked(function));
        pings.map(|&function| Action::Ping { function }).chain(actions).collect()
    }

    /// Takes an event at time `now`, counted from the start.
    pub fn handle(&mut self, now: Duration, event: Event<P>) -> Vec<Action<P>> {
        let mut actions = Vec::new();
        match event {
            Event::Answered { function, outputs } => self.answered(function, outputs, &mut actions),
            Event::Failed { function, failure } => self.failed(now, function, failure, &mut actions),
            Event::Tick => {}
        }
        if !self.over {
            self.tick(now, &mut actions);
        }
        actions
    }

    /// When to send [`Event::Tick`] at the latest; `None` once the request is over.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        let waits = self.states.iter().filter_map(|state| match state {
            State::Waiting { until, .. } => Some(*until),
            _ => None,
        });
        (!self.over).then(|| waits.fold(self.deadline, Duration::min))
    }

    /// Whether the request has finished or been given up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Tries made of a function.
    #[must_use]
    pub fn attempts(&self, function: FunctionIndex) -> u32 {
        match self.states.get(function) {
            None | Some(State::Blocked { .. }) => 0,
            Some(
                State::InFlight { attempt }
                | State::Waiting { attempt, .. }
                | State::Done { attempts: attempt },
            ) => *attempt,
        }
    }

    /// Ends the request where it stands and hands over every tensor it held.
    pub fn abandon(&mut self) -> Vec<P> {
        self.over = true;
        self.held.iter_mut().filter_map(Option::take).map(|held| held.payload).collect()
    }

    fn answered(&mut self, function: FunctionIndex, outputs: Vec<P>, actions: &mut Vec<Action<P>>) {
        let attempt = match self.states.get(function) {
            Some(State::InFlight { attempt }) if !self.over => *attempt,
            _ => {
                release(outputs, actions);
                return;
            }
        };
        let plan = Arc::clone(&self.plan);
        let Some(planned) = plan.functions.get(function) else { return };
        if let Some(state) = self.states.get_mut(function) {
            *state = State::Done { attempts: attempt };
        }
        let mut spent = Vec::new();
        for &tensor in &planned.inputs {
            let Some(slot) = self.held.get_mut(tensor) else { continue };
            let Some(held) = slot else { continue };
            held.readers_left = held.readers_left.saturating_sub(1);
            if held.readers_left == 0 {
                spent.extend(slot.take().map(|held| held.payload));
            }
        }
        release(spent, actions);
        self.make(&planned.outputs, outputs, actions);
        self.finish_if_done(actions);
    }

    fn failed(
        &mut self,
        now: Duration,
        function: FunctionIndex,
        failure: Failure,
        actions: &mut Vec<Action<P>>,
    ) {
        let Some(State::InFlight { attempt }) = self.states.get(function) else { return };
        if self.over {
            return;
        }
        let attempt = *attempt;
        let asked = match failure.retry {
            Retry::Never => None,
            Retry::Later => Some(Duration::ZERO),
            Retry::After(wait) => Some(wait),
        };
        let Some(asked) = asked.filter(|_| attempt < self.policy.max_attempts) else {
            self.give_up(GiveUp::Failed { function, attempts: attempt, failure }, actions);
            return;
        };
        let wait = self.policy.wait(attempt, mix(self.seed ^ function as u64)).max(asked);
        if let Some(last) = self.last_failures.get_mut(function) {
            *last = Some(failure);
        }
        if let Some(state) = self.states.get_mut(function) {
            *state = State::Waiting { attempt, until: now.saturating_add(wait) };
        }
        if now.saturating_add(wait) >= self.deadline {
            self.give_up_late(actions);
        }
    }

    fn tick(&mut self, now: Duration, actions: &mut Vec<Action<P>>) {
        if now >= self.deadline {
            self.give_up_late(actions);
            return;
        }
        for index in 0..self.states.len() {
            if let Some(&State::Waiting { attempt, until }) = self.states.get(index)
                && until <= now
            {
                self.call(index, attempt + 1, actions);
            }
        }
    }

    /// Stores tensors as they are made and calls the functions that waited for
    /// them only. A tensor that nobody reads is released at once.
    fn make(&mut self, made: &[TensorIndex], payloads: Vec<P>, actions: &mut Vec<Action<P>>) {
        let plan = Arc::clone(&self.plan);
        let mut unread = Vec::new();
        let mut ready = Vec::new();
        for (&at, payload) in made.iter().zip(payloads) {
            let Some((tensor, slot)) = plan.tensors.get(at).zip(self.held.get_mut(at)) else { continue };
            let readers_left = tensor.readers.len() + usize::from(tensor.to_caller);
            if readers_left == 0 {
                unread.push(payload);
                continue;
            }
            *slot = Some(Held { payload, readers_left });
            for &reader in &tensor.readers {
                if let Some(State::Blocked { missing }) = self.states.get_mut(reader) {
                    *missing = missing.saturating_sub(1);
                    if *missing == 0 {
                        ready.push(reader);
                    }
                }
            }
        }
        release(unread, actions);
        ready.sort_unstable();
        for reader in ready {
            self.call(reader, 1, actions);
        }
    }

    fn call(&mut self, function: FunctionIndex, attempt: u32, actions: &mut Vec<Action<P>>) {
        let Some((planned, state)) = self.plan.functions.get(function).zip(self.states.get_mut(function))
        else {
            return;
        };
        *state = State::InFlight { attempt };
        let inputs = planned
            .inputs
            .iter()
            .filter_map(|&at| self.held.get(at)?.as_ref())
            .map(|held| held.payload.clone())
            .collect();
        actions.push(Action::Call { function, attempt, inputs });
    }

    fn finish_if_done(&mut self, actions: &mut Vec<Action<P>>) {
        if self.over || !self.states.iter().all(|state| matches!(state, State::Done { .. })) {
            return;
        }
        // All readers have answered, so only the caller's share is left.
        let plan = Arc::clone(&self.plan);
        let outputs = plan
            .outputs
            .iter()
            .filter_map(|&at| self.held.get_mut(at)?.take())
            .map(|held| held.payload)
            .collect();
        self.over = true;
        actions.push(Action::Finished(outputs));
    }

    fn give_up_late(&mut self, actions: &mut Vec<Action<P>>) {
        let waiting = self
            .states
            .iter()
            .zip(&self.last_failures)
            .enumerate()
            .filter(|(_, (state, _))| matches!(state, State::InFlight { .. } | State::Waiting { .. }))
            .map(|(index, (_, failure))| (index, failure.clone()))
            .collect();
        self.give_up(GiveUp::Deadline { waiting }, actions);
    }

    fn give_up(&mut self, why: GiveUp, actions: &mut Vec<Action<P>>) {
        let held = self.abandon();
        release(held, actions);
        actions.push(Action::GiveUp(why));
    }
}

fn release<P>(payloads: Vec<P>, actions: &mut Vec<Action<P>>) {
    if !payloads.is_empty() {
        actions.push(Action::Release(payloads));
    }
}
