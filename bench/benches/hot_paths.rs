//! The time of one call of each hot path: `cargo bench -p ringway-bench --bench hot_paths`.

mod paths;

fn main() {
    divan::main();
}

#[divan::bench(args = paths::PATHS.iter().map(|(name, _)| *name))]
fn path(bencher: divan::Bencher<'_, '_>, name: &str) {
    let found = paths::PATHS.iter().find(|(other, _)| *other == name);
    let (_, make) = found.expect("the argument is one of the names");
    bencher.bench_local(make());
}
