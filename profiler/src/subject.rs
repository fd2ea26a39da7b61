//! A model measured as its function will run: at its CPU share and at others, its
//! start-up, and the memory it needs.

use crate::child::{ChildProgram, MeasuringProcess, Started};
use crate::groups::{Group, Groups};
use crate::measure::{MeasureRequest, Measurement};
use crate::memory::{SLOWER, smallest_limit};
use crate::{ProfilerError, timing};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tranche_host::Limits;
use tranche_schema::{ByteCount, MilliCpu, Millis, ShareSample, WholeProfile};

/// How often a start-up is measured; the median is taken. tract's peak of memory is the
/// highest of as many loads: it holds a copy of the weight at hand while it converts it,
/// and takes weights in an order that differs from load to load.
const STARTS: usize = 3;
/// Runs of a probe, and least runs at a further CPU share.
const FEW: u32 = 3;
/// Runs at a further CPU share go on for about so long.
const SHARE_TIME: Millis = Millis(2000.0);
/// A probe may take so many times as long as a process without a memory limit took…
const PATIENCE: u32 = 3;
/// …and so much more.
const GRACE: Duration = Duration::from_secs(1);

/// A model to measure.
pub(crate) struct Subject<'a> {
    /// How one process measures it.
    pub request: MeasureRequest,
    /// Every file of it.
    pub files: Vec<PathBuf>,
    /// CPU share that its function will have.
    pub cpu: MilliCpu,
    /// Further shares to run it at.
    pub shares: &'a [MilliCpu],
    /// Whether the engine's time depends on its threads.
    pub uses_threads: bool,
    /// Whether to look for the memory it needs.
    pub memory_search: bool,
    /// How processes are started.
    pub child: &'a ChildProgram,
    /// Where they are held to sizes.
    pub groups: &'a Groups,
    /// Copies of program and library for processes under memory limits.
    pub copies: &'a Copies,
    /// Time that one process may take, and that the search for memory may take.
    pub deadline: Duration,
}

/// What was measured of it.
pub(crate) struct Measured {
    pub measurement: Measurement,
    start_up: Millis,
    shares: Vec<ShareSample>,
    memory_limit: Option<ByteCount>,
    /// CPU share that it was held to; as many CPUs as threads where it could not be held.
    pub cpu: MilliCpu,
}

impl Measured {
    /// As the part of a profile; weights and activations are the graph's to tell.
    pub fn whole(&self, weights: ByteCount, peak_activation: ByteCount) -> WholeProfile {
        WholeProfile {
            start_up_ms: Some(self.start_up),
            memory_limit_bytes: self.memory_limit,
            shares: self.shares.clone(),
            ..self.measurement.whole(weights, peak_activation)
        }
    }
}

impl Subject<'_> {
    /// Measures it.
    ///
    /// # Errors
    /// When a process without a memory limit fails or outlives its deadline.
    pub fn measure(&self) -> Result<Measured, ProfilerError> {
        let mut group = self.held_to(self.cpu);
        let cpu = if group.is_some() { self.cpu } else { whole_cpus(self.request.threads) };
        let began = Instant::now();
        let first = self.start(&self.request, group.as_ref(), self.child)?;
        let took = began.elapsed();
        let Started { mut process, start_up, mut measurement } = first;
        let run = timing(&measurement.runs_ms);
        let mut shares = vec![ShareSample { cpu, run }];
        let mut further = self.further_shares(cpu);
        for share in further.remove(&self.threads(cpu)).unwrap_or_default() {
            shares.extend(self.again(&mut process, group.as_mut(), share, cpu, run.median_ms)?);
        }
        drop(process);
        let mut starts = vec![start_up.0];
        if let Some(group) = &mut group {
            group.0.limit_cpu(cpu);
        }
        let again = MeasureRequest { output_folder: None, warmup: 0, repeats: 1, ..self.request.clone() };
        for _ in 1..STARTS {
            let next = self.start(&again, group.as_ref(), self.child)?;
            starts.push(next.start_up.0);
            measurement.peak_memory_bytes =
                measurement.peak_memory_bytes.max(next.measurement.peak_memory_bytes);
        }
        for (threads, of_threads) in further {
            shares.extend(self.with_threads(threads, &of_threads, cpu, run.median_ms)?);
        }
        shares.sort_by_key(|sample| sample.cpu);
        let memory_limit = match self.memory_search {
            true => self.memory_limit(cpu, &measurement, run.median_ms, took)?,
            false => None,
        };
        Ok(Measured { measurement, start_up: timing(&starts).median_ms, shares, memory_limit, cpu })
    }

    /// Threads that tell shares apart: those the engine has, or one where more change nothing.
    fn threads(&self, share: MilliCpu) -> usize {
        if self.uses_threads { share.threads() } else { 1 }
    }

    /// Shares other than `cpu`, by threads; only those of whole CPUs where CPU cannot be limited:
    /// as many threads have them by themselves.
    fn further_shares(&self, cpu: MilliCpu) -> BTreeMap<usize, Vec<MilliCpu>> {
        let limited = self.groups.available().cpu;
        let mut found: BTreeMap<usize, Vec<MilliCpu>> = BTreeMap::new();
        for &share in self.shares.iter().filter(|&&share| share != cpu) {
            if limited || whole_cpus(self.threads(share)) == share {
                found.entry(self.threads(share)).or_default().push(share);
            }
        }
        found
    }

    /// Runs of a process at another share.
    fn again(
        &self,
        process: &mut MeasuringProcess,
        group: Option<&mut Group>,
        share: MilliCpu,
        known: MilliCpu,
        median: Millis,
    ) -> Result<Option<ShareSample>, ProfilerError> {
        let held = group.is_some_and(|group| group.0.limit_cpu(share));
        if !held && whole_cpus(self.threads(share)) != share {
            return Ok(None);
        }
        let times = process.again(self.runs_at(share, known, median))?;
        Ok(Some(ShareSample { cpu: share, run: timing(&times) }))
    }

    /// Runs at shares that come with another number of threads.
    fn with_threads(
        &self,
        threads: usize,
        shares: &[MilliCpu],
        known: MilliCpu,
        median: Millis,
    ) -> Result<Vec<ShareSample>, ProfilerError> {
        let Some(&largest) = shares.iter().max() else { return Ok(Vec::new()) };
        // It loads at the largest share: that is not measured here.
        let mut group = self.held_to(largest);
        let request =
            MeasureRequest { output_folder: None, threads, warmup: 0, repeats: 1, ..self.request.clone() };
        let mut process = self.start(&request, group.as_ref(), self.child)?.process;
        let mut found = Vec::new();
        for &share in shares {
            found.extend(self.again(&mut process, group.as_mut(), share, known, median)?);
        }
        Ok(found)
    }

    /// As many runs as take [`SHARE_TIME`], but a few, and no more than at the main share.
    fn runs_at(&self, share: MilliCpu, known: MilliCpu, median: Millis) -> u32 {
        let slower = (f64::from(known.0) / f64::from(share.0.max(1))).max(1.0);
        let wanted = SHARE_TIME.0 / (median.0 * slower).max(1e-3);
        (wanted as u32).clamp(FEW.min(self.request.repeats), self.request.repeats.max(1))
    }

    fn held_to(&self, cpu: MilliCpu) -> Option<Group> {
        self.groups.limited(Limits { cpu: Some(cpu), memory: None })
    }

    /// Starts a process that finds none of the model in the page cache.
    fn start(
        &self,
        request: &MeasureRequest,
        group: Option<&Group>,
        child: &ChildProgram,
    ) -> Result<Started, ProfilerError> {
        evict(&self.files);
        MeasuringProcess::start(child, request, group.map(|group| &group.0), self.deadline)
    }

    fn memory_limit(
        &self,
        cpu: MilliCpu,
        measurement: &Measurement,
        median: Millis,
        took: Duration,
    ) -> Result<Option<ByteCount>, ProfilerError> {
        if !self.groups.available().memory {
            return Ok(None);
        }
        let probes = Probes::new(self, cpu, took)?;
        let mut reference = median;
        let ends = Instant::now() + self.deadline;
        let kept = measurement.kept_memory_bytes;
        smallest_limit(kept, measurement.peak_memory_bytes, &mut |limit| {
            if Instant::now() >= ends {
                return Ok(None);
            }
            probes.fits(limit, &mut reference)
        })
    }
}

/// Copies of program and engine library, made when first asked for. Pages of files that
/// other processes have mapped cannot be evicted, and would not be charged to the group of
/// a process under a limit, as they are in a function's container.
#[derive(Default)]
pub(crate) struct Copies(OnceCell<Made>);

struct Made {
    _folder: tempfile::TempDir,
    program: PathBuf,
    library: Option<PathBuf>,
}

impl Copies {
    fn of(&self, subject: &Subject<'_>) -> Result<&Made, ProfilerError> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let folder = crate::temporary_folder()?;
        let copy = |file: &Path, name: &str| -> Result<PathBuf, ProfilerError> {
            let path = folder.path().join(name);
            std::fs::copy(file, &path)
                .map_err(|source| ProfilerError::File { path: file.to_owned(), source })?;
            Ok(path)
        };
        let program = copy(&subject.child.program, "program")?;
        let given = subject.request.library.as_deref();
        let library = tranche_engine::library_of(&subject.request.engine, given)
            .map(|library| copy(&library, "library.so"))
            .transpose()?;
        Ok(self.0.get_or_init(|| Made { _folder: folder, program, library }))
    }
}

/// Processes under memory limits.
struct Probes<'a> {
    subject: &'a Subject<'a>,
    cpu: MilliCpu,
    child: ChildProgram,
    request: MeasureRequest,
    files: Vec<PathBuf>,
    patience: Duration,
}

enum Outcome {
    /// It ran; its median.
    Ran(Millis),
    /// It was killed, failed, or took too long.
    Failed,
}

impl<'a> Probes<'a> {
    fn new(subject: &'a Subject<'a>, cpu: MilliCpu, took: Duration) -> Result<Self, ProfilerError> {
        let Made { program, library, .. } = subject.copies.of(subject)?;
        let files = subject.files.iter().chain([program]).chain(library).cloned().collect();
        let repeats = subject.request.repeats.min(FEW);
        Ok(Self {
            subject,
            cpu,
            child: ChildProgram { program: program.clone(), arguments: subject.child.arguments.clone() },
            request: MeasureRequest {
                output_folder: None,
                library: library.clone(),
                warmup: 0,
                repeats,
                as_function: true,
                ..subject.request.clone()
            },
            files,
            patience: (took * PATIENCE + GRACE).min(subject.deadline),
        })
    }

    /// Whether `limit` is enough; `None` where it cannot be set. `reference` is the median
    /// without a limit, and becomes the slower one where the machine has become slower.
    fn fits(&self, limit: ByteCount, reference: &mut Millis) -> Result<Option<bool>, ProfilerError> {
        let Some(outcome) = self.run(Some(limit))? else { return Ok(None) };
        let is_fast = |time: Millis, reference: Millis| time.0 <= reference.0 * SLOWER;
        match outcome {
            Outcome::Failed => Ok(Some(false)),
            Outcome::Ran(time) if is_fast(time, *reference) => Ok(Some(true)),
            Outcome::Ran(_) => {
                // Too slow for want of memory, or because the machine is busy: both once more.
                if let Some(Outcome::Ran(unlimited)) = self.run(None)? {
                    reference.0 = reference.0.max(unlimited.0);
                }
                let again = self.run(Some(limit))?;
                Ok(Some(matches!(again, Some(Outcome::Ran(time)) if is_fast(time, *reference))))
            }
        }
    }

    fn run(&self, memory: Option<ByteCount>) -> Result<Option<Outcome>, ProfilerError> {
        let cpu = self.subject.groups.available().cpu.then_some(self.cpu);
        let Some(group) = self.subject.groups.limited(Limits { memory, cpu }) else { return Ok(None) };
        evict(&self.files);
        let started = MeasuringProcess::start(&self.child, &self.request, Some(&group.0), self.patience);
        Ok(Some(match started {
            // Not always the process itself is killed.
            Ok(_) if group.0.oom_kills() > 0 => Outcome::Failed,
            Ok(started) => Outcome::Ran(timing(&started.measurement.runs_ms).median_ms),
            // Killed by the kernel, or ended by itself because it got no memory.
            Err(ProfilerError::Child { .. } | ProfilerError::Deadline { .. }) => Outcome::Failed,
            Err(error) => return Err(error),
        }))
    }
}

/// A share of as many CPUs.
fn whole_cpus(count: usize) -> MilliCpu {
    MilliCpu(u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(1000))
}

/// Drops files from the page cache. One that cannot be dropped stays: it then loads as
/// fast as it does for every function that shares it.
fn evict(files: &[PathBuf]) {
    for file in files {
        let _ = tranche_host::evict(file);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A measuring process that keeps 96 MiB (`tail` of a stream without newlines keeps all
    /// of it), dies with what keeps it, and says that it kept 160.
    const DOUBLE: &str = r#"#!/bin/sh
read -r request
echo '"loaded"'
kept=$(head -c 100663296 /dev/zero | tail | wc -c)
[ "$kept" -eq 100663296 ] || kill -9 $$
echo '{"base_memory_bytes":0,"load_ms":1.0,"first_run_ms":1.0,"runs_ms":[1.0],"peak_memory_bytes":167772160,"outputs":[]}'
while read -r runs; do echo '[1.0, 1.0]'; done
"#;

    struct Double {
        folder: tempfile::TempDir,
        child: ChildProgram,
        groups: Groups,
        copies: Copies,
    }

    impl Double {
        fn new(script: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join("double");
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            let child = ChildProgram { program, arguments: Vec::new() };
            Self { folder, child, groups: Groups::new(), copies: Copies::default() }
        }

        fn request(&self) -> MeasureRequest {
            MeasureRequest {
                model: self.folder.path().join("model.onnx"),
                inputs: Vec::new(),
                outputs: Vec::new(),
                output_folder: None,
                engine: "double".to_owned(),
                library: None,
                threads: 1,
                optimise: true,
                warmup: 0,
                repeats: 1,
                as_function: false,
                mapped_outputs: Vec::new(),
            }
        }

        fn measure(&self, shares: &[MilliCpu], memory_search: bool) -> Result<Measured, ProfilerError> {
            let subject = Subject {
                request: self.request(),
                files: Vec::new(),
                cpu: MilliCpu(1000),
                shares,
                uses_threads: false,
                memory_search,
                child: &self.child,
                groups: &self.groups,
                copies: &self.copies,
                deadline: Duration::from_secs(60),
            };
            subject.measure()
        }
    }

    #[test]
    fn the_memory_that_a_process_keeps_is_found() {
        let double = Double::new(DOUBLE);
        let found = double.measure(&[], true).unwrap().memory_limit;
        if !double.groups.available().memory {
            assert_eq!(found, None);
            return;
        }
        let found = found.unwrap();
        assert!(found > ByteCount::mebibytes(96) && found <= ByteCount::mebibytes(128), "{found}");
    }

    #[test]
    fn a_process_is_measured_at_each_share() {
        let double = Double::new(DOUBLE);
        let shares = [MilliCpu(250), MilliCpu(1000), MilliCpu(2000)];
        let found = double.measure(&shares, false).unwrap();
        let cpus: Vec<u32> = found.shares.iter().map(|sample| sample.cpu.0).collect();
        let limited = double.groups.available().cpu;
        assert_eq!(cpus, if limited { vec![250, 1000, 2000] } else { vec![1000] });
        assert_eq!(found.memory_limit, None);
    }

    #[test]
    fn a_process_that_fails_is_an_error_with_its_last_words() {
        let double = Double::new("#!/bin/sh\nread -r request\necho no such model >&2\nexit 3\n");
        let error = double.measure(&[], true).err().unwrap();
        assert!(matches!(&error, ProfilerError::Child { .. }), "{error}");
        assert!(error.to_string().contains("no such model"), "{error}");
    }

    #[test]
    fn a_process_that_hangs_is_killed_at_its_deadline() {
        let double = Double::new("#!/bin/sh\nread -r request\nexec sleep 600\n");
        let deadline = Duration::from_millis(300);
        let error = MeasuringProcess::start(&double.child, &double.request(), None, deadline).err().unwrap();
        assert!(matches!(error, ProfilerError::Deadline { .. }), "{error}");
    }
}
