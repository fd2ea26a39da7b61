use serde::Serialize;
use std::fmt;

/// What happens to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is made.
    Add,
    /// It is changed in place or replaced.
    Modify,
    /// It is removed.
    Remove,
}

/// One difference between what runs and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happens.
    pub kind: ChangeKind,
    /// To what: `bundle`, `engine`, or a function's name.
    pub subject: String,
    /// As it is; `None` when it is added.
    pub from: Option<String>,
    /// As it will be; `None` when it is removed.
    pub to: Option<String>,
}

/// What a deploy would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangeSet {
    /// The deployment.
    pub deployment: String,
    /// The target.
    pub target: String,
    /// The differences, in the order functions run; empty when there are none.
    pub changes: Vec<Change>,
}

impl ChangeSet {
    /// Whether a deploy would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Notes a difference, if `from` and `to` differ.
    pub fn compare(&mut self, subject: &str, from: Option<String>, to: Option<String>) {
        let kind = match (&from, &to) {
            (None, Some(_)) => ChangeKind::Add,
            (Some(_), None) => ChangeKind::Remove,
            (Some(from), Some(to)) if from != to => ChangeKind::Modify,
            _ => return,
        };
        self.changes.push(Change { kind, subject: subject.to_owned(), from, to });
    }
}

/// `+ name  what it will be`, `~ name  from -> to`, `- name  what it was`.
impl fmt::Display for ChangeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(formatter, "{} on {}: no changes", self.deployment, self.target);
        }
        writeln!(formatter, "{} on {}:", self.deployment, self.target)?;
        let width = self.changes.iter().map(|change| change.subject.chars().count()).max().unwrap_or(0);
        for Change { kind, subject, from, to } in &self.changes {
            let sign = match kind {
                ChangeKind::Add => '+',
                ChangeKind::Modify => '~',
                ChangeKind::Remove => '-',
            };
            let values: Vec<&str> = [from, to].into_iter().flatten().map(String::as_str).collect();
            writeln!(formatter, "  {sign} {subject:width$}  {}", values.join(" -> "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_their_signs() {
        let mut set = ChangeSet { deployment: "demo".into(), target: "local".into(), changes: Vec::new() };
        insta::assert_snapshot!(set, @"demo on local: no changes");
        let some = |text: &str| Some(text.to_owned());
        set.compare("bundle", some("aaa"), some("bbb"));
        set.compare("engine", some("tract"), some("tract"));
        set.compare("slice-0", None, some("64 MiB"));
        set.compare("slice-1", some("32 MiB"), None);
        insta::assert_snapshot!(set, @r"
        demo on local:
          ~ bundle   aaa -> bbb
          + slice-0  64 MiB
          - slice-1  32 MiB
        ");
    }
}
