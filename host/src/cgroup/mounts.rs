//! Where control groups are mounted and where this process stands in them.

use std::path::{Path, PathBuf};

/// A mounted hierarchy as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 1 or 2.
    pub version: u8,
    /// Controllers named by the mount (v1) or listed at its root (v2).
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// This process's own group.
    pub own: PathBuf,
}

impl Place {
    pub fn carries(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// This process's group first, then those above it up to the mount.
    pub fn own_and_ancestors(&self) -> Vec<PathBuf> {
        self.own
            .ancestors()
            .take_while(|folder| folder.starts_with(&self.mount))
            .map(Path::to_owned)
            .collect()
    }
}

/// Every hierarchy mounted, from /proc/self/{mountinfo,cgroup} below `root`.
pub(crate) fn places(root: &Path) -> Vec<Place> {
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_default();
    let mounts = read("proc/self/mountinfo");
    let own = read("proc/self/cgroup");
    mounts.lines().filter_map(|line| place(root, line, &own)).collect()
}

/// One line of mountinfo: `31 23 0:28 ROOT MOUNT options [tags] - TYPE SOURCE super-options`.
fn place(root: &Path, line: &str, own: &str) -> Option<Place> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let mounted_root = unescape(left.get(3)?);
    let mount = below(root, &unescape(left.get(4)?));
    let (version, controllers) = match *right.first()? {
        "cgroup2" => {
            let listed = std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
            (2, listed.split_whitespace().map(str::to_owned).collect())
        }
        "cgroup" => (1, right.get(2)?.split(',').map(str::to_owned).collect::<Vec<_>>()),
        _ => return None,
    };
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let matches = match version {
            2 => names.is_empty(),
            _ => names.split(',').any(|name| !name.is_empty() && controllers.iter().any(|c| c == name)),
        };
        matches.then(|| path.to_owned())
    })?;
    // In a container the mount shows only the part below `mounted_root`, and a
    // path that leaves it (`/..`) is out of sight.
    let relative = Path::new(&path).strip_prefix(&mounted_root).unwrap_or(Path::new(""));
    let hidden = relative.components().any(|part| matches!(part, std::path::Component::ParentDir));
    let own = if hidden { mount.clone() } else { mount.join(relative) };
    let own = if own.is_dir() { own } else { mount.clone() };
    Some(Place { version, controllers, mount, own })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// mountinfo writes space, tab, newline and backslash as octal escapes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
