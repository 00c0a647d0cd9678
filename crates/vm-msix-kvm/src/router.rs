//! The routing table of a VM, from which KVM's own copy is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_MSI_VALID_DEVID, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1 as Target, kvm_irq_routing_irqchip, kvm_irq_routing_msi,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::errno;

use crate::error::KvmError;
use crate::ioctl::Vm;
use crate::route_table::{Gsi, MsiRoute, RouteTable};

/// Owns a VM's routing table: the VMM's own entries, and the routes of all its functions' vectors.
///
/// Make one per VM, share it as `Arc<Router>`.
pub struct Router {
    vm: Vm,
    table: Mutex<Table>,
}

struct Table {
    /// The VMM's entries: IOAPIC and PIC pins.
    own: Vec<kvm_irq_routing_entry>,
    routes: BTreeMap<Gsi, MsiRoute>,
    free: BTreeSet<Gsi>,
    /// How many there were to lend.
    lendable: usize,
    limit: u32,
}

impl Router {
    /// A router for a VM whose routing table the VMM has set to `own`: it commits those along with its own,
    /// and takes its GSIs from the numbers that they leave free.
    ///
    /// A VM with KVM's whole interrupt controller has [`irqchip_entries`](Self::irqchip_entries) unless
    /// told otherwise; one with a split interrupt controller has none.
    pub fn new(vm: Arc<VmFd>, own: Vec<kvm_irq_routing_entry>) -> Self {
        let vm = Vm::new(vm);
        let limit = vm.gsi_limit();
        let first = own.iter().map(|entry| entry.gsi.saturating_add(1)).max().unwrap_or(0);
        // KVM counts entries too, and an IOAPIC pin can have two.
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(own.len());
        let free: BTreeSet<_> = (first..limit).map(Gsi).take(room).collect();
        let lendable = free.len();
        Self {
            vm,
            table: Mutex::new(Table { own, routes: BTreeMap::new(), free, lendable, limit }),
        }
    }

    /// The table that KVM starts with on x86: GSIs 0 to 15 on the two PICs, 0 to 23 on the IOAPIC.
    pub fn irqchip_entries() -> Vec<kvm_irq_routing_entry> {
        let pic = |gsi| match gsi {
            0..8 => pin(gsi, KVM_IRQCHIP_PIC_MASTER, gsi),
            _ => pin(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8),
        };
        let pics = (0..16).map(pic);
        let ioapic = (0..24).map(|gsi| pin(gsi, KVM_IRQCHIP_IOAPIC, gsi));
        ioapic.chain(pics).collect()
    }

    /// How many GSIs are lent out.
    pub fn gsis_in_use(&self) -> usize {
        let table = self.lock();
        table.lendable - table.free.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // What a panicking thread left behind is a table that KVM has.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits what is in the table, with these routes put over it. KVM takes it all or nothing.
    fn commit(&self, table: &mut Table, routes: &[(Gsi, MsiRoute)]) -> errno::Result<()> {
        let mut next = table.routes.clone();
        next.extend(routes.iter().copied());
        self.vm.set_gsi_routing(&self.entries(&table.own, &next))?;
        table.routes = next;
        Ok(())
    }

    /// Commits as many of these routes as KVM takes: all at once, and halves where it refuses.
    fn commit_good(
        &self,
        table: &mut Table,
        routes: &[(Gsi, MsiRoute)],
        failed: &mut dyn FnMut(Gsi, KvmError),
    ) {
        let Err(source) = self.commit(table, routes) else {
            return;
        };
        // Only where a route is wrong can a part fare better than the whole.
        if routes.len() == 1 || source.errno() != libc::EINVAL {
            for (gsi, _) in routes {
                failed(*gsi, KvmError::Route { gsi: gsi.0, source });
            }
            return;
        }
        let (front, back) = routes.split_at(routes.len() / 2);
        self.commit_good(table, front, failed);
        self.commit_good(table, back, failed);
    }

    fn entries(
        &self,
        own: &[kvm_irq_routing_entry],
        routes: &BTreeMap<Gsi, MsiRoute>,
    ) -> Vec<kvm_irq_routing_entry> {
        let flags = if self.vm.has_device_ids() { KVM_MSI_VALID_DEVID } else { 0 };
        let message = |(gsi, route): (&Gsi, &MsiRoute)| msi(*gsi, route, flags);
        own.iter().copied().chain(routes.iter().map(message)).collect()
    }
}

impl RouteTable for Router {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        let mut table = self.lock();
        let limit = table.limit;
        table.free.pop_first().ok_or(KvmError::GsisExhausted { limit })
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        let mut table = self.lock();
        let new = |(gsi, route): &&(Gsi, MsiRoute)| table.routes.get(gsi) != Some(route);
        let changes: Vec<_> = routes.iter().filter(new).copied().collect();
        if !changes.is_empty() {
            self.commit_good(&mut table, &changes, failed);
        }
    }

    /// Without a commit: nothing uses these routes any more, and the next commit leaves them out.
    fn release(&self, gsis: &[Gsi]) {
        let mut table = self.lock();
        for gsi in gsis {
            table.routes.remove(gsi);
        }
        table.free.extend(gsis);
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.lock();
        f.debug_struct("Router")
            .field("own_entries", &table.own.len())
            .field("routes", &table.routes)
            .field("free_gsis", &table.free.len())
            .finish()
    }
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: Target { irqchip: kvm_irq_routing_irqchip { irqchip, pin } },
        ..Default::default()
    }
}

fn msi(gsi: Gsi, route: &MsiRoute, flags: u32) -> kvm_irq_routing_entry {
    let mut msi = kvm_irq_routing_msi {
        address_lo: route.message.address_low(),
        address_hi: route.message.address_high(),
        data: route.message.data,
        ..Default::default()
    };
    msi.__bindgen_anon_1.devid = route.requester.0;
    kvm_irq_routing_entry {
        gsi: gsi.0,
        type_: KVM_IRQ_ROUTING_MSI,
        flags,
        u: Target { msi },
        ..Default::default()
    }
}
