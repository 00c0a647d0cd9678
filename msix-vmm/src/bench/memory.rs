//! What idle vectors weigh.

use std::error::Error;
use std::fs;

use super::host::Host;
use super::measure::Outcome;

/// What the row is called.
pub(super) const WORKLOAD: &str = "memory";
/// How many vectors each function has.
pub(super) const VECTORS: u16 = 64;

/// Bytes of resident memory for each vector of so many functions in signal mode, everything of the function
/// included. To be asked before anything else has left free memory behind.
pub(super) fn per_vector<H: Host>(host: &H, functions: usize) -> Outcome<f64> {
    let mut all = Vec::with_capacity(functions);
    let before = resident_bytes()?;
    for _ in 0..functions {
        all.push(host.function(VECTORS)?);
    }
    let taken = resident_bytes()? - before;
    Ok(taken / (functions as f64 * f64::from(VECTORS)))
}

/// The second field of /proc/self/statm, which is in pages (proc(5)).
fn resident_bytes() -> Result<f64, Box<dyn Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split(' ').nth(1).ok_or("/proc/self/statm is short")?.parse()?;
    Ok(pages * page_bytes())
}

fn page_bytes() -> f64 {
    // SAFETY: asks for a number, and takes no pointer.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as f64 }
}
