//! A device in a process of its own, in as little as it takes: `cargo run -p vm-msix-tube --example adopt`.
//!
//! The README shows the parts between the marks. Here both sides are threads of one process, for brevity.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use kvm_ioctls::{Kvm, VmFd};
use vm_msix::{MsixConfig, Signal};
use vm_msix_kvm::{Committer, KvmMsi, Router};
use vm_msix_tube::{Quota, Server, SessionEnd, Tube};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let Ok(kvm) = Kvm::new() else {
        println!("skipped: no /dev/kvm here");
        return Ok(());
    };
    let vm = Arc::new(kvm.create_vm()?);
    vm.create_irq_chip()?;
    let router = Router::new(vm.clone(), Router::irqchip_entries());
    let committer = Committer::spawn(Arc::new(router))?;
    let server = Server::spawn()?;

    let socket = plug(&server, vm, committer)?;
    let device = thread::spawn(move || device_process(socket));
    println!("signalled: {:?}", device.join().map_err(|_| "the device process panicked")??);
    Ok(())
}

fn plug(server: &Server, vm: Arc<VmFd>, committer: Arc<Committer>) -> Outcome<OwnedFd> {
    // [readme-vmm]
    let (ours, theirs) = Tube::pair()?;
    server.serve(ours, KvmMsi::new(vm, committer), Quota { vectors: 5 }, note_the_end)?;
    let socket = theirs.into_socket(); // for the device process to inherit
    // [/readme-vmm]
    Ok(socket)
}

fn note_the_end(end: SessionEnd) {
    println!("the session is over: {end}");
}

fn device_process(inherited: OwnedFd) -> Outcome<Signal> {
    // [readme-sandbox]
    let tube = Tube::from_socket(inherited)?;
    let msix = MsixConfig::new(5, tube, 0x1042_1af4, "disk0")?;
    // [/readme-sandbox]
    Ok(msix.trigger(1)?)
}
