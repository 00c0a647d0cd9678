//! The fuzzers' corpus: replayed, and compared with the seeds that it grew from. Tests of the crates include this.
//!
//! `VM_MSIX_WRITE_SEEDS=1` writes the seeds, after a change of what they are made of.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::PathBuf;

/// Where a target's inputs are.
fn corpus(target: &str) -> PathBuf {
    // From the crate that includes this.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// Runs a target with each of its inputs.
#[track_caller]
pub(crate) fn replay(target: &str, run: fn(&[u8])) {
    for (name, input) in inputs(target) {
        // In the output of a test that fails.
        println!("{name}");
        run(&input);
    }
}

/// A target's inputs, and what they are called.
#[track_caller]
pub(crate) fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(corpus(target)).unwrap().map(|file| file.unwrap().path());
    let inputs: Vec<_> =
        paths.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    assert!(!inputs.is_empty());
    inputs
}

/// The corpus has this seed.
#[track_caller]
pub(crate) fn expect_seed(target: &str, name: &str, seed: &[u8]) {
    let path = corpus(target).join(name);
    if std::env::var("VM_MSIX_WRITE_SEEDS").is_ok_and(|value| value == "1") {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(&path, seed).unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), seed, "{}", path.display());
}
