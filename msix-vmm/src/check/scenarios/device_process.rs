//! A device in a process of its own: what it cannot do, and what is left when it dies.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use vm_msix::test_utils::RegisterAccess;
use vm_msix_tube::SessionEnd;

use crate::check::remote::RemoteDevice;
use crate::check::rig::{HANG, Rig};
use crate::check::verdict::{Failure, Verdict, equal, holds};
use crate::device_process::Forbidden;
use crate::machine::{DEVICE_VECTORS, MaskBit, Width};

/// The filter is on: whatever the device must not do ends its process, on the spot.
pub(super) fn confined(rig: &Rig) -> Result<String, Failure> {
    let remote = rig.remote()?;
    for forbidden in Forbidden::ALL {
        let outlived = remote.attempt(forbidden).is_ok();
        holds(!outlived, || format!("the device process has done it: {forbidden:?}"))?;
        ended_by(remote, libc::SIGSYS)?;
        remote.restart().map_err(seen)?;
    }
    comes_back(rig)?;
    Ok(format!("{:?}: each the end of the process, by SIGSYS", Forbidden::ALL))
}

/// The process is killed while its vectors are signalled, masked and unmasked: all that it had comes back, the guest
/// goes on, and a new process works in the same place.
pub(super) fn killed(rig: &Rig) -> Result<String, Failure> {
    const ROUNDS: u64 = 5;
    let remote = rig.remote()?;
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let mut signals = 0;
    // One that died before may still be closing some when they are counted, so it is the fewest ever that counts.
    let mut fewest = usize::MAX;
    for round in 0..ROUNDS {
        rig.start_over()?;
        rig.device.reset()?;
        fewest = fewest.min(open_descriptors().map_err(seen)?);
        bring_everything_up(rig)?;
        signals += killed_in_a_storm(rig, remote, &mut random)?;
        ended_by(remote, libc::SIGKILL)?;
        equal(format_args!("GSIs in use after death {round}"), rig.gsis_in_use(), 0)?;
        is_nothing_but_ones(rig)?;
        remote.restart().map_err(seen)?;
        // The last of them go when the committer's thread has seen that its help is not needed.
        let are_back = || open_descriptors().is_ok_and(|open| open <= fewest);
        until("a dead device has no descriptor open", are_back)?;
        comes_back(rig)?;
    }
    Ok(format!(
        "{ROUNDS} deaths amid {signals} signals: {} GSIs back each time, a new process in the place",
        rig.vectors()
    ))
}

/// The process ends, or has ended, by this signal, and its session with it.
fn ended_by(remote: &RemoteDevice, signal: i32) -> Verdict {
    let (status, session) = remote.wait_for_end()?;
    equal("signal that ended the device process", status.signal(), Some(signal))?;
    equal("end of its session", session, SessionEnd::Disconnected)?;
    until("the session counts no more", || remote.sessions() == 0)
}

/// A process that is new in its place is found, programmed and heard as the first one was.
fn comes_back(rig: &Rig) -> Verdict {
    equal("what the guest found", &rig.enumerate_again()?, &rig.found)?;
    rig.start_over()?;
    rig.unmask_wave();
    let vectors: Vec<u16> = (0..rig.wave()).step_by(7).collect();
    for &vector in &vectors {
        rig.handshake(vector, 1)?;
    }
    rig.settle()?;
    for &vector in &vectors {
        equal(format_args!("handler runs of vector {vector}"), rig.machine.runs(vector), 1)?;
    }
    equal("interrupts of nobody", rig.machine.unexpected_interrupts(), vec![])?;
    rig.intact()
}

/// Lets the driver open every vector the device has, so that it has all that it can have.
fn bring_everything_up(rig: &Rig) -> Verdict {
    rig.driver(0).enable_under_mask();
    for first in (0..rig.vectors()).step_by(DEVICE_VECTORS.into()) {
        let count = DEVICE_VECTORS.min(rig.vectors() - first);
        // Not to the CPU that drives.
        rig.program(first, count, rig.machine.cpus() - 1, MaskBit::Clear)?;
    }
    rig.driver(0).unmask_function();
    until("every vector has a GSI", || rig.gsis_in_use() == usize::from(rig.vectors()))
}

/// Kills the process while two threads signal and the driver masks and unmasks, all at random; returns how many signals
/// there were.
fn killed_in_a_storm(
    rig: &Rig,
    remote: &RemoteDevice,
    random: &mut fastrand::Rng,
) -> Result<u64, Failure> {
    let signals = AtomicU64::new(0);
    let killed = AtomicBool::new(false);
    let (enough, delay) = (random.u64(50..500), Duration::from_micros(random.u64(..2000)));
    thread::scope(|scope| {
        for first in 0..rig.vectors().min(2) {
            let vectors: Vec<u16> = (first..rig.vectors()).step_by(2).collect();
            let (mut random, signals) = (random.fork(), &signals);
            // Until there is nobody to signal.
            scope.spawn(move || {
                while rig.trigger(vectors[random.usize(..vectors.len())]).is_ok() {
                    signals.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (mut random, killed) = (random.fork(), &killed);
        scope.spawn(move || {
            while !killed.load(Ordering::Relaxed) {
                let vector = random.u16(..rig.vectors());
                match random.bool() {
                    true => rig.driver(0).mask(vector),
                    false => rig.driver(0).unmask(vector),
                }
            }
        });
        let raged = until("the storm rages", || signals.load(Ordering::Relaxed) >= enough);
        thread::sleep(delay);
        let ended = remote.kill().map_err(seen);
        killed.store(true, Ordering::Relaxed);
        raged.and(ended)
    })?;
    Ok(signals.load(Ordering::Relaxed))
}

/// A device that is dead reads as a place where nothing is; writes go nowhere, and its own actions fail.
fn is_nothing_but_ones(rig: &Rig) -> Verdict {
    let mut driver = rig.driver(0);
    let registers = driver.access();
    equal("vendor and device", registers.read_config(0, Width::Dword) as u32, u32::MAX)?;
    for write in [0, 1 << 15] {
        registers.write_control(write);
        registers.write_table(12, 0);
        equal("Message Control", registers.read_control(), u16::MAX)?;
        equal("Vector Control", registers.read_table(12), u32::MAX)?;
        equal("PBA", registers.read_pba(0), u64::MAX)?;
    }
    holds(rig.trigger(0).is_err(), || "a dead device has signalled".into())?;
    holds(rig.device.reset().is_err(), || "a dead device was reset".into())?;
    rig.settle()?;
    rig.intact()
}

/// How many descriptors this process has open.
fn open_descriptors() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count())
}

/// Waits until something is so, which happens on another thread.
fn until(what: &str, so: impl Fn() -> bool) -> Verdict {
    let started = Instant::now();
    while !so() {
        holds(started.elapsed() < HANG, || format!("in vain: {what}"))?;
        thread::yield_now();
    }
    Ok(())
}

fn seen(error: impl std::error::Error) -> Failure {
    Failure::Seen(error.to_string())
}
