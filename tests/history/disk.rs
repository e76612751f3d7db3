//! A small disk of a process's own, which is full soon and has room again when it is told to.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Ways to a mount namespace: as root, else as root of a user namespace of one's own.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];

/// Mounts a disk of `$1` KiB at `$0`, `$2` of them taken, tells the process in `$3`, and becomes
/// the program that follows.
const MOUNT: &str = r#"mount -t tmpfs -o size="$1k" tmpfs "$0" &&
    head -c "$2k" /dev/zero >"$0/filler" && echo $$ >"$3" && shift 3 && exec "$@""#;

/// One disk, mounted anew for each process that is started with it.
pub(crate) struct Disk {
    folder: TempDir,
    kib: u32,
    taken_kib: u32,
}

impl Disk {
    /// A disk of so many KiB, so many of which are taken until [`Disk::make_room`].
    pub(crate) fn new(kib: u32, taken_kib: u32) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        fs::create_dir(folder.path().join("disk")).expect("the folder takes folders");
        Self { folder, kib, taken_kib }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// `program` with this disk; it is the process that is started.
    ///
    /// # Panics
    ///
    /// Where no process can be given a disk of its own.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let works = |way: &&&[&str]| {
            let done = self.command(way, "true").status();
            done.expect("unshare is part of util-linux").success()
        };
        let way = WAYS.iter().find(works).expect(
            "a mount namespace with a disk of its own, which this host gives neither to root nor \
             in a user namespace (kernel.unprivileged_userns_clone, CAP_SYS_ADMIN in a container)",
        );
        self.command(way, program)
    }

    fn command(&self, way: &[&str], program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("unshare");
        command.args(way).args(["--", "sh", "-c", MOUNT]).arg(self.path());
        command.args([self.kib.to_string(), self.taken_kib.to_string()]);
        command.arg(self.folder.path().join("pid")).arg(program);
        command
    }

    /// Frees what was taken.
    pub(crate) fn make_room(&self) {
        let id = fs::read_to_string(self.folder.path().join("pid")).expect("a process was started");
        // As that process sees it.
        let root = Path::new("/proc").join(id.trim()).join("root");
        let filler = self.path().join("filler");
        let filler = root.join(filler.strip_prefix("/").expect("temporary folders are absolute"));
        fs::remove_file(filler).expect("it is there until now");
    }
}
