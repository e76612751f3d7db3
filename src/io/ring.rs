//! The runtime over io_uring, with the flags that this kernel takes.

use std::io;

use monoio::IoUringDriver;
use monoio::Runtime;
use monoio::RuntimeBuilder;
use monoio::time::TimeDriver;

/// Builds the runtime of the calling thread, with rings of `entries` submissions.
///
/// The shard asks for completions itself, once per turn, so the kernel need not interrupt it for
/// each (`IORING_SETUP_COOP_TASKRUN`, Linux 5.19): an echo cost 0.92 of the peer with it and 1.05
/// without, side by side (perf-reports/2026-11-24-first). Older kernels refuse the flag.
///
/// # Errors
///
/// When the kernel sets up no ring at all.
pub fn build(entries: u32) -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let mut cooperative = io_uring::IoUring::builder();
    cooperative.setup_coop_taskrun();
    match build_with(cooperative, entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            build_with(io_uring::IoUring::builder(), entries)
        }
        built => built,
    }
}

fn build_with(
    flags: io_uring::Builder,
    entries: u32,
) -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(flags)
        .with_entries(entries)
        .enable_timer()
        .build()
}
