//! The routing table of a VM, from which KVM's own copy is made.
//!
//! # Two locks
//!
//! `gsis` says whose number is whose, and is never held over a system call: taking one and giving it back wait for no
//! commit. `table` is what KVM has, and is held over the commit. A GSI that was given back is taken out of the table by the
//! next commit: nothing uses its route any more, and its next owner sets another before it assigns an irqfd.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError};

use kvm_bindings::kvm_irq_routing_entry;
use vmm_sys_util::errno;

use crate::counters::IoctlCounters;
use crate::error::KvmError;
use crate::ioctl::Vm;
use crate::route_table::{Gsi, MsiRoute, RouteTable};
use crate::routing_entry::{self, irqchip};
use crate::sys::{Mutex, MutexGuard, VmFd};

/// Owns a VM's routing table: the VMM's own entries, and the routes of all its functions' vectors.
///
/// Make one per VM, share it as `Arc<Router>`.
pub struct Router {
    vm: Vm,
    /// The VMM's entries: IOAPIC and PIC pins.
    own: Vec<kvm_irq_routing_entry>,
    limit: u32,
    gsis: Mutex<Gsis>,
    table: Mutex<BTreeMap<Gsi, MsiRoute>>,
    observer: Arc<dyn RouterObserver>,
}

/// The numbers.
#[derive(Debug)]
struct Gsis {
    free: BTreeSet<Gsi>,
    /// How many there were to lend.
    lendable: usize,
    /// Given back, and perhaps in the table still.
    returned: BTreeSet<Gsi>,
}

/// Is told what happens to the routing table, which no function sees. `()` observes nothing.
///
/// # Threading
///
/// Told by whoever commits or asks for a GSI, with the table's lock held: an observer must not call the router.
pub trait RouterObserver: Send + Sync {
    /// KVM has a new table, with so many routes changed and so many entries in all.
    fn committed(&self, _changed: usize, _entries: usize) {}

    /// KVM refused a route; the last good table stands, with the good ones of its batch.
    fn refused(&self, _gsi: Gsi, _error: &KvmError) {}

    /// A vector wanted a GSI, and there is none: its eventfd is polled.
    fn gsis_exhausted(&self) {}
}

impl RouterObserver for () {}

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
        let gsis = Gsis { lendable: free.len(), free, returned: BTreeSet::new() };
        Self {
            vm,
            own,
            limit,
            gsis: Mutex::new(gsis),
            table: Mutex::default(),
            observer: Arc::new(()),
        }
    }

    /// Tells an observer what happens to the table.
    pub fn with_observer(mut self, observer: impl RouterObserver + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Counts the router's ioctls.
    pub fn with_ioctl_counters(mut self, counters: Arc<IoctlCounters>) -> Self {
        self.vm.count_with(counters);
        self
    }

    /// The table that KVM starts with on x86: GSIs 0 to 15 on the two PICs, 0 to 23 on the IOAPIC.
    pub fn irqchip_entries() -> Vec<kvm_irq_routing_entry> {
        irqchip()
    }

    /// How many GSIs are lent out.
    pub fn gsis_in_use(&self) -> usize {
        let gsis = self.gsis();
        gsis.lendable - gsis.free.len()
    }

    // What a panicking thread left behind is whole, here and below: nothing is changed in two steps.
    fn gsis(&self) -> MutexGuard<'_, Gsis> {
        self.gsis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Gsi, MsiRoute>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the routes that are news, and whose GSI has not been given back in the meantime.
    fn changes(
        &self,
        table: &mut BTreeMap<Gsi, MsiRoute>,
        routes: &[(Gsi, MsiRoute)],
    ) -> Vec<(Gsi, MsiRoute)> {
        let mut gsis = self.gsis();
        for gsi in std::mem::take(&mut gsis.returned) {
            table.remove(&gsi);
        }
        let is_news = |(gsi, route): &&(Gsi, MsiRoute)| {
            table.get(gsi) != Some(route) && !gsis.free.contains(gsi)
        };
        routes.iter().filter(is_news).copied().collect()
    }

    /// Commits what is in the table, with these routes put over it. KVM takes it all or nothing.
    fn commit(
        &self,
        table: &mut BTreeMap<Gsi, MsiRoute>,
        routes: &[(Gsi, MsiRoute)],
    ) -> errno::Result<()> {
        let before: Vec<_> =
            routes.iter().map(|&(gsi, route)| (gsi, table.insert(gsi, route))).collect();
        let entries = self.entries(table);
        let committed = self.vm.set_gsi_routing(&entries);
        match &committed {
            Ok(()) => self.observer.committed(routes.len(), entries.len()),
            Err(_) => take_back(table, before),
        }
        committed
    }

    /// Commits as many of these routes as KVM takes: all at once, and halves where it refuses.
    fn commit_good(
        &self,
        table: &mut BTreeMap<Gsi, MsiRoute>,
        routes: &[(Gsi, MsiRoute)],
        failed: &mut dyn FnMut(Gsi, KvmError),
    ) {
        let Err(source) = self.commit(table, routes) else {
            return;
        };
        // Only where a route is wrong can a part fare better than the whole.
        if routes.len() == 1 || source.errno() != libc::EINVAL {
            for (gsi, _) in routes {
                let error = KvmError::Route { gsi: gsi.0, source };
                self.observer.refused(*gsi, &error);
                failed(*gsi, error);
            }
            return;
        }
        let (front, back) = routes.split_at(routes.len() / 2);
        self.commit_good(table, front, failed);
        self.commit_good(table, back, failed);
    }

    fn entries(&self, table: &BTreeMap<Gsi, MsiRoute>) -> Vec<kvm_irq_routing_entry> {
        let device_ids = self.vm.has_device_ids();
        let message = |(gsi, route)| routing_entry::msi(gsi, route, device_ids);
        self.own.iter().copied().chain(table.iter().map(message)).collect()
    }
}

/// Makes the table what it was.
fn take_back(table: &mut BTreeMap<Gsi, MsiRoute>, before: Vec<(Gsi, Option<MsiRoute>)>) {
    // Backwards, should a GSI be there twice.
    for (gsi, route) in before.into_iter().rev() {
        match route {
            Some(route) => table.insert(gsi, route),
            None => table.remove(&gsi),
        };
    }
}

impl RouteTable for Router {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        let gsi = self.gsis().free.pop_first();
        gsi.ok_or_else(|| {
            self.observer.gsis_exhausted();
            KvmError::GsisExhausted { limit: self.limit }
        })
    }

    fn set(&self, routes: &[(Gsi, MsiRoute)], failed: &mut dyn FnMut(Gsi, KvmError)) {
        let mut table = self.table();
        let changes = self.changes(&mut table, routes);
        if !changes.is_empty() {
            self.commit_good(&mut table, &changes, failed);
        }
    }

    /// Without a commit: the next one leaves their routes out.
    fn release(&self, released: &[Gsi]) {
        let mut gsis = self.gsis();
        gsis.free.extend(released);
        gsis.returned.extend(released);
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("own_entries", &self.own.len())
            .field("routes", &self.table())
            .field("gsis_in_use", &self.gsis_in_use())
            .finish()
    }
}
