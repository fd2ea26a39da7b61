//! All output: data on standard output, everything else on standard error.

use crate::arguments::{ColorChoice, OutputArguments};
use crate::failure::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Owner of both streams.
#[derive(Clone, Debug)]
pub struct Printer {
    json: bool,
    quiet: bool,
    verbose: u8,
    progress: bool,
}

impl Printer {
    /// By the flags given, NO_COLOR, and whether standard error is a terminal.
    #[must_use]
    pub fn new(arguments: &OutputArguments) -> Self {
        match arguments.color {
            ColorChoice::Auto => {}
            ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
            ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
        }
        Self {
            json: arguments.json,
            quiet: arguments.quiet,
            verbose: arguments.verbose,
            progress: !arguments.no_progress
                && !arguments.quiet
                && !arguments.json
                && std::io::stderr().is_terminal(),
        }
    }

    /// Whether one JSON document is wanted.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    /// How often `-v` was given.
    #[must_use]
    pub fn verbose(&self) -> u8 {
        self.verbose
    }

    /// Prints the result of a verb: as JSON when asked for, else as text.
    ///
    /// # Errors
    /// When the value has no JSON form or standard output is closed.
    pub fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(value)
                .map_err(|error| Failure::bug(format!("cannot write the result as JSON: {error}")))?;
            self.data(&json)
        } else {
            self.data(text().trim_end())
        }
    }

    /// Prints text that is the result of a verb: as it is, or as the only member,
    /// `name`, of a JSON object.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn text(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.result(&std::collections::BTreeMap::from([(name, text)]), || text.to_owned())
    }

    /// Prints text on standard output. A closed pipe ends the output quietly.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        match writeln!(anstream::stdout(), "{text}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::usage(format!("cannot write to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Says what is being done.
    pub fn step(&self, verb: &str, what: &str) {
        if !self.quiet {
            let style = anstyle::AnsiColor::Green.on_default().bold();
            let _ = writeln!(anstream::stderr(), "{style}{verb:>12}{style:#} {what}");
        }
    }

    /// Says something the user should know.
    pub fn warning(&self, message: &str) {
        if !self.quiet {
            let style = anstyle::AnsiColor::Yellow.on_default().bold();
            let _ = writeln!(anstream::stderr(), "{style}warning:{style:#} {message}");
        }
    }

    /// A bar of `length` steps; hidden unless standard error is a terminal.
    #[must_use]
    pub fn bar(&self, length: u64, message: &str) -> ProgressBar {
        let bar = self.hidden_or(ProgressBar::new(length));
        if let Ok(style) = ProgressStyle::with_template("{msg:>12} [{bar:30}] {pos}/{len} {eta}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(message.to_owned());
        bar
    }

    /// A spinner for work of unknown length; hidden unless standard error is a terminal.
    #[must_use]
    pub fn spinner(&self, message: &str) -> ProgressBar {
        let bar = self.hidden_or(ProgressBar::new_spinner());
        bar.set_message(message.to_owned());
        if self.progress {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    fn hidden_or(&self, bar: ProgressBar) -> ProgressBar {
        if !self.progress {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }
}
