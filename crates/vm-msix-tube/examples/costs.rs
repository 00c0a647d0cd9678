//! What a function in a device process costs: `cargo run --release -p vm-msix-tube --example costs`.
//!
//! The parent is the VMM; for each number of vectors it starts this program again as a device process, with a tube as its
//! standard input. The child brings its function up as Linux does and tells what that took; then it triggers an open
//! vector, and writes the same vector's eventfd, in turns.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, MsixConfig};
use vm_msix_kvm::{Committer, IoctlCounters, KvmMsi, Router};
use vm_msix_tube::{Quota, Server, Tube, TubeBackend};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Triggers in one turn, and turns.
const TRIGGERS: u32 = 1000;
const TURNS: usize = 200;

fn main() -> Outcome {
    match env::args().nth(1) {
        Some(vectors) => device(vectors.parse()?),
        None => vmm(),
    }
}

/// The VMM.
fn vmm() -> Outcome {
    let Ok(kvm) = Kvm::new() else {
        println!("skipped: no /dev/kvm here");
        return Ok(());
    };
    println!("vectors  bring-up  requests  round trips  commits  assigns   trigger  bare write");
    for vectors in [1, 64, 2048] {
        let vm = Arc::new(kvm.create_vm()?);
        vm.create_irq_chip()?;
        // Somebody must take the interrupts.
        let _vcpu = vm.create_vcpu(0)?;
        let counters = Arc::new(IoctlCounters::default());
        let router = Router::new(vm.clone(), Router::irqchip_entries());
        let committer = Committer::spawn(Arc::new(router.with_ioctl_counters(counters.clone())))?;
        let source = KvmMsi::new(vm, committer).with_ioctl_counters(counters.clone());

        let server = Server::spawn()?;
        let (here, there) = Tube::pair()?;
        let (tell, ended) = mpsc::channel();
        server.serve(here, source, Quota { vectors }, move |end| {
            tell.send(end).unwrap_or_default()
        })?;
        let child = Command::new(env::current_exe()?)
            .arg(vectors.to_string())
            .stdin(Stdio::from(there.into_socket()))
            .output()?;
        ended.recv()?;
        let counts = counters.counts();
        let seen = String::from_utf8(child.stdout)?;
        let [up, requests, trips, trigger, write] = seen.split_whitespace().collect::<Vec<_>>()[..]
        else {
            return Err(format!("the device process says {seen:?}").into());
        };
        println!(
            "{vectors:7} {up:>6} us {requests:>9} {trips:>12} {:>8} {:>8} {trigger:>6} ns {write:>8} ns",
            counts.set_gsi_routing, counts.irqfd_assign
        );
    }
    Ok(())
}

/// The device process.
fn device(vectors: u16) -> Outcome {
    let tube = Tube::from_socket(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut msix = MsixConfig::new(vectors, tube, 0x1041_1af4, "costs")?;

    let begin = Instant::now();
    bring_up(&mut GuestDriver::new(&mut msix), vectors);
    msix.flush()?;
    let up = begin.elapsed();
    let traffic = msix.backend().traffic();

    let trigger = msix.trigger_handle(0)?;
    let guard = msix.get_irqfd(0)?;
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..TURNS {
        ours.push(turn(|| trigger.trigger()));
        bare.push(turn(|| rustix::io::write(&guard, &1_u64.to_ne_bytes())));
    }
    println!(
        "{} {} {} {} {}",
        up.as_micros(),
        traffic.requests,
        traffic.round_trips,
        median(ours),
        median(bare)
    );
    Ok(())
}

/// As Linux does: every entry masked, then one vector after the other programmed and unmasked.
fn bring_up(guest: &mut GuestDriver<&mut MsixConfig<TubeBackend>>, vectors: u16) {
    guest.enable_under_mask();
    (0..vectors).for_each(|vector| guest.mask(vector));
    guest.unmask_function();
    for vector in 0..vectors {
        guest.program(vector, MsiMessage::new(0xfee0_0000, 0x40 + u32::from(vector) % 64));
        guest.unmask(vector);
    }
}

/// The time of one of many.
fn turn<T>(mut work: impl FnMut() -> T) -> Duration {
    let begin = Instant::now();
    (0..TRIGGERS).for_each(|_| drop(black_box(work())));
    begin.elapsed() / TRIGGERS
}

fn median(mut turns: Vec<Duration>) -> u128 {
    turns.sort();
    turns[turns.len() / 2].as_nanos()
}
