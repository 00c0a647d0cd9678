//! MSI-X in a VMM of your own, without vm-msix's configuration space: the code that README.md shows.

use std::error::Error;
use std::sync::{Arc, Mutex};

use kvm_ioctls::{Kvm, VmFd};
use vm_msix_kvm::Router;
// [readme]
use vm_msix::{MsixCap, MsixConfig, MsixError, MsixLayout, Region};
use vm_msix_kvm::{Committer, KvmBackend, KvmMsi, RequesterId};

struct Disk {
    msix: Mutex<MsixConfig<KvmBackend>>, // register accesses; interrupts need no lock
    layout: MsixLayout,
}

impl Disk {
    fn new(vm: Arc<VmFd>, committer: Arc<Committer>) -> Result<Self, MsixError> {
        let kvm = KvmMsi::new(vm, committer).with_requester(RequesterId::pci(0, 3, 0));
        let layout = MsixLayout::propose(5, 4)?; // 5 vectors; table and PBA in BAR 4
        let msix = Mutex::new(MsixConfig::new(5, kvm, 0x1042_1af4, "disk0")?);
        Ok(Self { msix, layout })
    }
    fn capability(&self) -> [u8; 12] {
        *MsixCap::of(self.layout).bytes() // for your configuration space
    }
    fn capability_read(&self, first_dword: u32) -> u32 {
        self.msix.lock().unwrap().read_msix_capability(first_dword)
    }
    fn capability_write(&self, offset: u64, data: &[u8]) {
        self.msix.lock().unwrap().write_msix_capability(offset, data);
    }
    fn command_write(&self, command: u16) {
        self.msix.lock().unwrap().set_bus_master(command & 4 != 0);
    }
    fn bar4_read(&self, offset: u64, data: &mut [u8]) {
        match self.layout.locate(4, offset) {
            Some((Region::Table, at)) => self.msix.lock().unwrap().read_msix_table(at, data),
            Some((Region::Pba, at)) => self.msix.lock().unwrap().read_pba_entries(at, data),
            _ => data.fill(0),
        }
    }
    fn bar4_write(&self, offset: u64, data: &[u8]) {
        if let Some((Region::Table, at)) = self.layout.locate(4, offset) {
            self.msix.lock().unwrap().write_msix_table(at, data);
        }
    }
}
// [/readme]

fn main() -> Result<(), Box<dyn Error>> {
    let Ok(kvm) = Kvm::new() else {
        println!("no /dev/kvm here: nothing to deliver through");
        return Ok(());
    };
    let vm = Arc::new(kvm.create_vm()?);
    vm.create_irq_chip()?;
    let _vcpu = vm.create_vcpu(0)?;
    let router = Arc::new(Router::new(vm.clone(), Router::irqchip_entries()));
    let disk = Disk::new(vm, Committer::spawn(router)?)?;

    // The guest: bus mastering on, entry 1 programmed and unmasked, MSI-X enabled.
    disk.command_write(4);
    disk.bar4_write(16, &0xfee0_0000_u64.to_le_bytes());
    disk.bar4_write(24, &0x41_u64.to_le_bytes());
    disk.capability_write(2, &0x8000_u16.to_le_bytes());
    let mut entry = [0; 8];
    disk.bar4_read(24, &mut entry);
    println!(
        "capability {:02x?}, live {:#010x}",
        disk.capability(),
        disk.capability_read(0x0004_0011)
    );
    println!("entry 1: data and control {:#x}", u64::from_le_bytes(entry));

    // [readme-device]
    let queue = disk.msix.lock().unwrap().trigger_handle(1)?; // clone it into any thread
    println!("queue interrupt: {:?}", queue.trigger()?);

    let vhost_call = disk.msix.lock().unwrap().get_irqfd(2)?; // an eventfd for vhost or VFIO
    // [/readme-device]
    println!("descriptor of {:?}", vhost_call.vector());
    Ok(())
}
