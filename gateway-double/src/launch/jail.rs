//! A root folder, a user, and mounts that no other process sees.

use crate::DoubleError;
use rustix::fs::{Gid, Uid};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// What a process is shut into.
pub(super) struct Jail<'a> {
    /// Its `/`; `proc` and, when read-only, `tmp` in it are mounted on where they are there.
    pub root: &'a Path,
    /// Working folder inside it.
    pub folder: &'a str,
    /// User and group; supplementary groups are dropped.
    pub user: (u32, u32),
    /// Whether only /tmp can be written.
    pub read_only: bool,
}

impl Jail<'_> {
    /// Shuts the program of `command` in when it starts. Needs root.
    ///
    /// The mounts are in a namespace of the process's own and go with it.
    pub fn apply(&self, command: &mut Command) -> Result<(), DoubleError> {
        let text = |path: &Path| {
            CString::new(path.as_os_str().as_bytes())
                .map_err(|_| DoubleError::file("enter", path)(io::ErrorKind::InvalidInput.into()))
        };
        let root = text(self.root)?;
        let proc_folder = text(&self.root.join("proc"))?;
        let tmp = text(&self.root.join("tmp"))?;
        let folder = text(Path::new(self.folder))?;
        let (user, group) = (Uid::from_raw(self.user.0), Gid::from_raw(self.user.1));
        let read_only = self.read_only;
        let between_fork_and_exec = move || {
            // SAFETY: only the mount namespace is left, of which no memory safety hangs.
            #[expect(unsafe_code, reason = "rustix calls it so for the flags that it may take")]
            unsafe {
                rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)?;
            }
            // Else the mounts below would show in the parent's namespace.
            let apart = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", apart)?;
            if read_only {
                rustix::mount::mount_bind(&*root, &*root)?;
                let flags = MountFlags::BIND | MountFlags::RDONLY;
                rustix::mount::mount_remount(&*root, flags, c"")?;
                let _ = rustix::mount::mount(c"tmpfs", &*tmp, c"tmpfs", MountFlags::empty(), c"mode=1777");
            }
            // Containers without the right to mount /proc run functions all the same.
            let _ = rustix::mount::mount(c"proc", &*proc_folder, c"proc", MountFlags::empty(), None);
            rustix::process::chroot(&*root)?;
            rustix::process::chdir(&*folder)?;
            rustix::thread::set_thread_groups(&[])?;
            rustix::thread::set_thread_gid(group)?;
            rustix::thread::set_thread_uid(user)?;
            Ok(())
        };
        #[expect(unsafe_code, reason = "the root and the user must change between fork and exec")]
        // SAFETY: the closure runs in the forked child, where other threads are gone and locks
        // they held stay locked, so it may only make async-signal-safe calls. It makes the
        // system calls unshare, mount, chroot, chdir, setgroups, setgid and setuid on strings
        // and numbers that were made before the fork; the strings are C strings already, so
        // nothing is allocated (errors are built from error numbers), nothing is locked, and
        // no state shared with the parent is touched.
        unsafe {
            command.pre_exec(between_fork_and_exec);
        }
        Ok(())
    }
}
