//! Where values come from, and the one place that reads the process's surroundings.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// Where one value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the configuration file, counted from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A file that an environment variable names.
    SecretFile(String, PathBuf),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::SecretFile(name, path) => write!(f, "environment {name}, {}", path.display()),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The flag as written, such as `--cores` or `--set`.
    pub flag: String,
    /// The key it sets.
    pub key: String,
    /// The value, not yet checked.
    pub value: String,
}

/// Everything [`load`](crate::config::load()) looks at.
#[derive(Clone)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub environment: Vec<(String, String)>,
    /// The flags, in any order.
    pub flags: Vec<Flag>,
    /// Reads the configuration file, and the files that hold secrets.
    pub read: fn(&Path) -> io::Result<String>,
}

impl fmt::Debug for Sources {
    /// Without values: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Default for Sources {
    /// No file, no environment, no flags: every value is the catalogue's.
    fn default() -> Self {
        Self { file: None, environment: Vec::new(), flags: Vec::new(), read }
    }
}

impl Sources {
    /// The surroundings of this process, with its real environment.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        // Not `vars`, which panics on what is not UTF-8; here such a value meets its knob's check.
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        Self { file, environment, flags, read }
    }
}

/// A configuration file is never so large; a device or a log named by mistake may be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a text file of at most [`FILE_BYTES_MAX`].
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}
