//! Triggers a vector so many times, for `ci/trigger-instructions` to count what that takes: `triggers open|masked|memory|bare TIMES`.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;

use kvm_bindings::kvm_msi;
use kvm_ioctls::{Kvm, VmFd};
use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, MsixConfig};
use vm_msix_kvm::{Committer, KvmBackend, KvmMsi, RequesterId, Router};

const INTERRUPT: MsiMessage = MsiMessage::new(0xfee0_0000, 0x41);
const MEMORY: MsiMessage = MsiMessage::new(0x0010_0000, 0x41);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or("open, masked, memory or bare?")?;
    let times: u32 = arguments.next().ok_or("how many times?")?.parse()?;
    let vm = Arc::new(Kvm::new()?.create_vm()?);
    vm.create_irq_chip()?;
    let _vcpu = vm.create_vcpu(0)?;
    match what.as_str() {
        "bare" => bare(&vm, times)?,
        "open" => trigger(&function(vm, INTERRUPT)?, times)?,
        // The same but for the system call: a message to memory ends in a hook, which does nothing.
        "memory" => trigger(&function(vm, MEMORY)?, times)?,
        "masked" => {
            let mut msix = function(vm, INTERRUPT)?;
            GuestDriver::new(&mut msix).mask(0);
            trigger(&msix, times)?;
        }
        other => return Err(format!("{other}: open, masked, memory or bare").into()),
    }
    Ok(())
}

/// The system call and nothing else.
fn bare(vm: &VmFd, times: u32) -> Result<(), Box<dyn Error>> {
    let (address_lo, data) = (INTERRUPT.address_low(), INTERRUPT.data);
    let msi = kvm_msi { address_lo, data, ..Default::default() };
    for _ in 0..times {
        black_box(vm.signal_msi(black_box(msi)))?;
    }
    Ok(())
}

fn trigger(msix: &MsixConfig<KvmBackend>, times: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..times {
        black_box(msix.trigger(black_box(0)))?;
    }
    Ok(())
}

fn function(vm: Arc<VmFd>, message: MsiMessage) -> Result<MsixConfig<KvmBackend>, Box<dyn Error>> {
    let router = Router::new(vm.clone(), Router::irqchip_entries());
    let kvm = KvmMsi::new(vm, Committer::immediate(Arc::new(router))).with_memory_write(
        |_: RequesterId, message: MsiMessage| {
            black_box(message);
        },
    );
    let mut msix = MsixConfig::new(64, kvm, 0x1041_1af4, "counted")?;
    GuestDriver::new(&mut msix).bring_up(&[message]);
    Ok(msix)
}
