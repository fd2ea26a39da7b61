//! What a deploy would change, and by which steps.

use super::desired::Desired;
use super::snapshot::{Snapshot, differences};
use super::state::Current;
use crate::ChangeSet;
use tranche_packager::openfaas::FunctionDeployment;

/// What becomes of each function.
#[derive(Clone, Debug, Default)]
pub(super) struct Steps {
    /// They run as wanted.
    pub kept: Vec<FunctionDeployment>,
    /// They are not there.
    pub made: Vec<FunctionDeployment>,
    /// They are there under their names and are otherwise: changed by hand.
    pub restored: Vec<FunctionDeployment>,
    /// Left by a deploy that died: they go first.
    pub strays: Vec<String>,
    /// They serve until the new ones do.
    pub old: Vec<String>,
}

impl Steps {
    pub fn new(desired: &Desired<'_>, current: Option<&Current>, snapshot: &Snapshot) -> Self {
        let mut steps = Self::default();
        for function in &desired.functions {
            let list = match snapshot.ours.get(&function.service) {
                None => &mut steps.made,
                Some(running) if differences(function, running, snapshot.provider()).is_empty() => {
                    &mut steps.kept
                }
                Some(_) => &mut steps.restored,
            };
            list.push(function.clone());
        }
        let front_door = desired.front_door("").map(|function| function.service);
        for name in snapshot.ours.keys() {
            let is_wanted = desired.functions.iter().any(|function| function.service == *name)
                || front_door.as_ref() == Some(name);
            // Without a deployment.json nobody can tell strays from what serves.
            let serves = current.is_none_or(|current| current.names().contains(&name.as_str()));
            match (is_wanted, serves) {
                (true, _) => {}
                (false, true) => steps.old.push(name.clone()),
                (false, false) => steps.strays.push(name.clone()),
            }
        }
        steps
    }

    /// The most functions there are at one time when the old ones stay until the
    /// new ones serve.
    pub fn most_functions(&self, snapshot: &Snapshot, desired: &Desired<'_>) -> usize {
        let front_door = desired.front_door("").map(|function| function.service);
        let new_door = front_door.is_some_and(|name| !snapshot.ours.contains_key(&name));
        snapshot.others + snapshot.ours.len() - self.strays.len() + self.made.len() + usize::from(new_door)
    }
}

/// What differs between what runs and what is wanted, drift included.
pub(super) fn changes(desired: &Desired<'_>, current: Option<&Current>, snapshot: &Snapshot) -> ChangeSet {
    let mut set = ChangeSet {
        deployment: desired.name.to_owned(),
        target: "openfaas".to_owned(),
        ..ChangeSet::default()
    };
    let deployment = current.map(|current| &current.deployment);
    let digest = deployment.map(|deployment| deployment.bundle_digest.short().to_owned());
    set.compare("bundle", digest, Some(desired.bundle.digest.short().to_owned()));
    let plan = current.and_then(|current| current.record.as_ref()).map(|record| &record.plan_digest);
    let plan = plan.map(|digest| digest.short().to_owned());
    set.compare("plan", plan, Some(desired.bundle.manifest.plan_digest.short().to_owned()));
    let engine = deployment.map(|deployment| deployment.engine.clone());
    set.compare("engine", engine, Some(desired.engine.clone()));
    for function in &desired.functions {
        let slice = function.slice();
        let from = current.and_then(|current| {
            let name = current.name_of(slice)?;
            Some(as_it_runs(name, current, snapshot))
        });
        // A deploy that was cut off has made it already.
        let from = from.or_else(|| {
            let running = snapshot.ours.get(&function.service)?;
            Some(format!("{}, not in use", describe(&running.description())))
        });
        set.compare(slice, from, Some(describe(function)));
    }
    removed(&mut set, desired, current, snapshot);
    let door = current.and_then(|current| Some(as_it_runs(current.front_door()?, current, snapshot)));
    let runs = |name: &str| current.and_then(|current| current.described(name)).map(describe);
    let wanted = desired.front_door("").map(|function| {
        let runs = current.and_then(Current::front_door).and_then(runs);
        runs.unwrap_or(function.service)
    });
    set.compare("front-door", door, wanted);
    set
}

/// Slices that are no more, and functions that nobody refers to.
fn removed(set: &mut ChangeSet, desired: &Desired<'_>, current: Option<&Current>, snapshot: &Snapshot) {
    let is_wanted = |slice: &str| desired.functions.iter().any(|function| function.slice() == slice);
    for function in current.into_iter().flat_map(|current| &current.deployment.functions) {
        if let (false, Some(current)) = (is_wanted(&function.slice), current) {
            let name = current.name_of(&function.slice).unwrap_or_default();
            set.compare(&function.slice, Some(as_it_runs(name, current, snapshot)), None);
        }
    }
    let door = desired.front_door("").map(|function| function.service);
    for (name, running) in &snapshot.ours {
        let named = desired.functions.iter().any(|function| function.service == *name)
            || door.as_ref() == Some(name)
            || current.is_some_and(|current| current.names().contains(&name.as_str()));
        if !named {
            let text = format!("{}, not in deployment.json", describe(&running.description()));
            set.compare(name, Some(text), None);
        }
    }
}

/// A function of deployment.json as it is now, with what was changed by hand.
fn as_it_runs(name: &str, current: &Current, snapshot: &Snapshot) -> String {
    let described = current.described(name);
    let described_text = described.map(describe);
    let running = snapshot.ours.get(name).map(|running| describe(&running.description()));
    let text = described_text.or(running).unwrap_or_else(|| name.to_owned());
    let drift = match described {
        Some(described) => snapshot.drift(described),
        None if !snapshot.ours.contains_key(name) => Some("missing at the gateway".to_owned()),
        None => None,
    };
    drift.map_or(text.clone(), |drift| format!("{text} ({drift})"))
}

/// `toy-s0-0123abcd, 512Mi, 500m, image 0123456789ab`
fn describe(function: &FunctionDeployment) -> String {
    let limits = function.limits.clone().unwrap_or_default();
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let image = match function.image.rsplit_once("@sha256:") {
        Some((_, digest)) => digest.get(..12).unwrap_or(digest),
        None => &function.image,
    };
    let (memory, cpu) = (or(limits.memory, "memory not limited"), or(limits.cpu, "cpu not limited"));
    format!("{}, {memory}, {cpu}, image {image}", function.service)
}
