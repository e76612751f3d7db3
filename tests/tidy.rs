//! The rules of the house that the compiler does not know. A new rule is a new test here.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree should stop")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Who may import whom: a module may use itself and what its row names, nothing else.
#[rustfmt::skip]
const LAYERS: &[(&str, &[&str])] = &[
    ("stdx",    &[]),
    ("metrics", &["stdx"]),
    ("proto",   &["stdx"]),
    ("policy",  &["stdx"]),
    ("io",      &["stdx"]),
    ("broker",  &["stdx", "proto", "policy"]),
    ("history", &["stdx", "metrics", "broker"]),
    ("shard",   &["stdx", "metrics", "proto", "policy", "broker", "history", "io"]),
    ("admin",   &["metrics", "policy", "shard"]),
    ("config",  &["stdx", "policy"]),
    ("server",  &["stdx", "metrics", "proto", "policy", "broker", "history", "io", "shard", "admin",
                  "config", "cli", "fleet"]),
    ("doctor",  &["io", "config"]),
    ("fleet",   &["proto", "policy", "io", "config"]),
    ("cli",     &["io", "config", "history", "policy", "doctor", "fleet"]),
    ("lib",     &[]),
    ("main",    &[]),
];

/// Front doors that no `allow` further in can undo.
const WITHOUT_UNSAFE: &[&str] = &["stdx", "proto", "policy", "broker", "history", "shard", "fleet"];

/// Crates that one place owns, so that replacing them is a change to one place. Every dependency
/// has a row; those of `src/` as a whole are small and say nothing about what the server does.
#[rustfmt::skip]
const OWNED: &[(&str, &[&str])] = &[
    ("arc_swap",            &["src/server/", "src/shard/runtime.rs", "src/admin/"]),
    ("arrayvec",            &["src/"]),
    ("atomic_waker",        &["src/shard/mailbox.rs", "src/io/resolver.rs"]),
    ("axum",                &["src/admin/"]),
    ("base64",              &["src/proto/http/", "src/proto/envelope/", "src/policy/auth/",
                              "src/server/archive.rs"]),
    ("clap",                &["src/cli/"]),
    ("core_affinity",       &["src/server/"]),
    ("hmac",                &["src/proto/signature.rs"]),
    ("httparse",            &["src/proto/http/"]),
    ("io_uring",            &["src/io/ring.rs"]),
    ("jsonschema",          &["src/policy/schema.rs"]),
    ("jsonwebtoken",        &["src/policy/auth/"]),
    ("libc",                &["src/io/"]),
    ("memchr",              &["src/proto/", "src/policy/"]),
    ("monoio",              &["src/io/", "src/shard/accepting.rs", "src/shard/runtime.rs",
                              "src/shard/sending.rs", "src/shard/tasks.rs", "src/shard/link/",
                              "src/shard/secure/", "src/server/"]),
    ("mysql_async",         &["src/history/mysql.rs", "src/history/mysql_rows.rs"]),
    ("prometheus",          &["src/metrics/"]),
    ("redis",               &["src/proto/resp/"]),
    ("regex",               &["src/policy/", "src/broker/router.rs",
                              "src/broker/expression.rs"]),
    ("regex_automata",      &["src/policy/"]),
    // Outside of `auth` it is `io::ring`, or what rustls calls its provider.
    ("ring",                &["src/policy/auth/", "src/server/", "src/io/"]),
    ("rtrb",                &["src/shard/mailbox.rs", "src/io/resolver.rs", "src/history/port.rs"]),
    ("rusqlite",            &["src/history/sqlite.rs"]),
    ("rustc_hash",          &["src/"]),
    ("rustix",              &["src/io/", "src/config/host.rs", "src/server/host.rs",
                              "src/doctor/examine.rs"]),
    ("rustls",              &["src/io/tls/"]),
    ("rustls_native_certs", &["src/io/tls/"]),
    ("serde",               &["src/policy/auth/"]),
    ("serde_json",          &["src/"]),
    ("sha1",                &["src/proto/http/", "src/proto/resp/script.rs"]),
    ("sha2",                &["src/proto/signature.rs"]),
    ("signal_hook",         &["src/server/"]),
    // In `proto` it is a module of ours.
    ("signature",           &["src/policy/auth/", "src/proto/"]),
    ("simd_json",           &["src/proto/json.rs"]),
    ("simdutf8",            &["src/"]),
    ("slab",                &["src/"]),
    ("socket2",             &["src/io/"]),
    ("tikv_jemallocator",   &["src/main.rs"]),
    ("tokio",               &["src/admin/", "src/history/mysql.rs"]),
    ("toml",                &["src/config/"]),
    ("tracing",             &["src/"]),
    ("tracing_subscriber",  &["src/server/logs.rs", "src/config/"]),
    ("ureq",                &["src/server/keys.rs"]),
];

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 400;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One file of the tree: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The module of `src/` that the file belongs to; none outside of `src/`.
    fn module(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split(['/', '.']).next()
    }
}

/// A rule tells what is wrong with a file: nothing, or where and why, any number of times.
type Rule = fn(&File) -> Vec<String>;

/// Applies `rule` to each line of Rust below `folders`; line numbers are added here.
fn by_line(file: &File, rule: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let lines = file.text.lines().zip(1..);
    lines.filter_map(|(line, at)| Some(format!("{}:{at}: {}", file.path, rule(line)?))).collect()
}

fn imports_point_down(file: &File) -> Vec<String> {
    let Some(module) = file.module().filter(|_| file.is_rust()) else { return Vec::new() };
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: `{module}` has no row in LAYERS", file.path)];
    };
    by_line(file, |line| {
        // Comments too: even a link may only point down, so that a layer can be read by itself.
        let mut used = line.split("crate::").skip(1).map(first_word);
        let used = used.find(|used| {
            !used.starts_with(char::is_uppercase) && *used != module && !below.contains(used)
        })?;
        Some(format!("`{module}` must not use `{used}`"))
    })
}

fn imports_stand_one_per_line(file: &File) -> Vec<String> {
    let climbs = ["super"; 2].join("::");
    by_line(file, |line| {
        let used = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let bad = ["use crate::{", "use super::{"].iter().any(|start| used.starts_with(start));
        let bad = file.is_rust() && (bad || line.contains(&climbs));
        bad.then(|| "one import per line, from `crate::`".to_owned())
    })
}

fn owned_crates_stay_home(file: &File) -> Vec<String> {
    if file.module().is_none() || !file.is_rust() {
        return Vec::new();
    }
    by_line(file, |line| {
        let strays = |(name, homes): &&(&str, &[&str])| {
            names(line, name) && !homes.iter().any(|home| file.path.starts_with(home))
        };
        let (name, homes) = OWNED.iter().find(strays)?;
        Some(format!("`{name}` belongs to {}", homes.join(", ")))
    })
}

/// Whether `line` uses the crate `name` by a path.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':')
    })
}

fn files_open_with_their_purpose(file: &File) -> Vec<String> {
    let opens = file.text.starts_with("//! ");
    let bad = file.is_rust() && !opens;
    bad.then(|| format!("{}:1: must begin with `//! ` and its purpose", file.path))
        .into_iter()
        .collect()
}

fn lines_end_by_column_100(file: &File) -> Vec<String> {
    let kinds = [".rs", ".mjs", ".py", ".sh", "/run", "/test"];
    let counted = kinds.iter().any(|kind| format!("/{}", file.path).ends_with(kind));
    by_line(file, |line| {
        let columns = line.chars().count();
        (counted && COLUMNS_MAX < columns).then(|| format!("{columns} columns"))
    })
}

fn files_stay_short(file: &File) -> Vec<String> {
    let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let bad = file.is_rust() && LINES_MAX < lines;
    bad.then(|| format!("{}: {lines} lines before its tests", file.path)).into_iter().collect()
}

fn nothing_is_left_to_fix(file: &File) -> Vec<String> {
    let mark = ["FIX", "ME"].concat();
    by_line(file, |line| line.contains(&mark).then(|| format!("{mark} never reaches main")))
}

fn no_machine_is_named(file: &File) -> Vec<String> {
    let homes = ["root", "work"].map(|name| format!("/{name}/"));
    by_line(file, |line| {
        let found = homes.iter().find(|home| {
            line.match_indices(home.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|it| it.is_alphanumeric() || "._-}".contains(it))
            })
        })?;
        Some(format!("{found} is a path of one machine"))
    })
}

fn lock_files_name_no_registry(file: &File) -> Vec<String> {
    let npm = file.path.ends_with("package-lock.json");
    by_line(file, |line| {
        (npm && line.contains("\"resolved\"")).then(|| "names where it was downloaded".to_owned())
    })
}

fn reports_exist(file: &File) -> Vec<String> {
    by_line(file, |line| {
        let mut named = line.split("perf-reports/").skip(1).map(|rest| {
            let end = rest.find(|it: char| !it.is_alphanumeric() && !"-_.".contains(it));
            rest[..end.unwrap_or(rest.len())].trim_end_matches('.')
        });
        let lost = named
            .find(|name| !name.is_empty() && !Path::new("perf-reports").join(name).exists())?;
        Some(format!("perf-reports/{lost} does not exist"))
    })
}

fn front_doors_forbid_unsafe(file: &File) -> Vec<String> {
    let door = WITHOUT_UNSAFE.iter().any(|it| file.path == format!("src/{it}/mod.rs"));
    let bad = door && !file.text.lines().any(|line| line == "#![forbid(unsafe_code)]");
    bad.then(|| format!("{}: must say #![forbid(unsafe_code)]", file.path)).into_iter().collect()
}

/// Every rule with a file that must break it once, so that no rule can fall asleep.
#[rustfmt::skip]
const RULES: &[(Rule, &str, &str)] = &[
    (imports_point_down, "src/stdx/a.rs", "//! See [`crate::stdx`].\nuse crate::io::A;"),
    (imports_point_down, "src/novel/mod.rs", "//! A module that nobody placed."),
    (imports_stand_one_per_line, "src/io/a.rs", "use crate::io::A;\npub use crate::{io, stdx};"),
    (owned_crates_stay_home, "src/broker/a.rs", "use crate::a::toml::B;\nuse toml::Table;"),
    (files_open_with_their_purpose, "bench/src/a.rs", "use std::fs;"),
    (front_doors_forbid_unsafe, "src/proto/mod.rs", "//! Bytes.\n// #![forbid(unsafe_code)]"),
];

#[test]
fn every_rule_notices_what_breaks_it() {
    for (rule, path, text) in RULES {
        let found = rule(&File::new(path, text));
        assert_eq!(found.len(), 1, "{path}: {found:?}");
    }
    let wide = format!("//! {}\n// {}", "ü".repeat(96), "ü".repeat(98));
    assert_eq!(lines_end_by_column_100(&File::new("tests/a.mjs", &wide)).len(), 1);
    let long = format!("//! Long.\n{}#[cfg(test)]\n{}", "\n".repeat(400), "\n".repeat(900));
    assert_eq!(files_stay_short(&File::new("src/a.rs", &long)).len(), 1);
    assert_eq!(files_stay_short(&File::new("src/a.rs", &long.replacen("\n\n", "\n", 1))).len(), 0);
    let text = ["// FIX", "ME: later\n/ro", "ot/.cargo and a/ro", "ot/b"].concat();
    let file = File::new("README.md", &text);
    assert_eq!((nothing_is_left_to_fix(&file).len(), no_machine_is_named(&file).len()), (1, 1));
    let file = File::new("a/package-lock.json", "{\n  \"resolved\": \"somewhere\"\n}");
    assert_eq!(lock_files_name_no_registry(&file).len(), 1);
    let text = ["// Measured: perf-", "reports/1999-12-31-nothing."].concat();
    assert_eq!(reports_exist(&File::new("src/a.rs", &text)).len(), 1);
}

#[test]
fn imports_point_down_only() {
    check(imports_point_down);
}

#[test]
fn imports_are_one_per_line() {
    check(imports_stand_one_per_line);
}

#[test]
fn owned_crates_stay_in_their_place() {
    check(owned_crates_stay_home);
}

#[test]
fn every_file_opens_with_its_purpose() {
    check(files_open_with_their_purpose);
}

#[test]
fn no_line_is_over_100_columns() {
    check(lines_end_by_column_100);
}

#[test]
fn no_file_is_over_400_lines_before_its_tests() {
    check(files_stay_short);
}

#[test]
fn nothing_on_main_waits_to_be_fixed() {
    check(nothing_is_left_to_fix);
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    check(no_machine_is_named);
    check(lock_files_name_no_registry);
}

#[test]
fn every_report_that_is_named_exists() {
    check(reports_exist);
}

#[test]
fn folders_without_unsafe_say_so() {
    check(front_doors_forbid_unsafe);
    for name in WITHOUT_UNSAFE {
        assert!(Path::new("src").join(name).join("mod.rs").exists(), "{name} has no front door");
    }
}

#[test]
fn every_module_is_placed_and_every_place_is_taken() {
    let modules: BTreeSet<String> =
        tree().iter().filter_map(File::module).map(str::to_owned).collect();
    let placed: BTreeSet<String> = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, placed);
}

#[test]
fn every_dependency_is_owned_and_used() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let named: BTreeSet<String> =
        lines.filter_map(|line| Some(line.split_once(" =")?.0.replace('-', "_"))).collect();
    let owned: BTreeSet<String> = OWNED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, owned, "the dependencies and the rows of OWNED");

    let sources: Vec<File> = tree().into_iter().filter(|file| file.module().is_some()).collect();
    for name in named {
        let used = sources.iter().any(|file| file.text.lines().any(|line| names(line, &name)));
        assert!(used, "`{name}` is a dependency that nothing uses");
    }
}

#[test]
fn nothing_over_1_mib_is_in_git() {
    let large: Vec<String> = paths()
        .into_iter()
        .filter(|path| FILE_BYTES_MAX < fs::metadata(path).unwrap().len())
        .collect();
    assert!(large.is_empty(), "\n{}", large.join("\n"));
}

/// Applies `rule` to every file of the tree and reports all that break it, not the first.
#[track_caller]
fn check(rule: Rule) {
    let broken: Vec<String> = tree().iter().flat_map(rule).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Every text file that git knows or would add.
fn tree() -> Vec<File> {
    let files: Vec<File> = paths()
        .into_iter()
        .filter(|path| !path.starts_with("fuzz/corpus/"))
        .filter_map(|path| Some(File { text: fs::read_to_string(&path).ok()?, path }))
        .collect();
    let sources_count = files.iter().filter(|file| file.module().is_some()).count();
    assert!(40 <= sources_count, "only {sources_count} files in src/: this is not the tree");
    files
}

/// The path of every file that git knows or would add, from the root.
fn paths() -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = git.output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let paths = listed.split('\0').filter(|path| Path::new(path).is_file());
    paths.map(str::to_owned).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}
