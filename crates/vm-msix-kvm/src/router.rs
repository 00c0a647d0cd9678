//! The routing table of a VM, from which KVM's own copy is made.
//!
//! # Two locks
//!
//! `gsis` says whose number is whose, and is never held over a system call: taking one and giving it back wait for no
//! commit. `table` is what KVM has, and is held over the commit. The route of a GSI that was given back is left out of the
//! next commit: nothing uses it any more, and its next owner sets another before it assigns an irqfd.

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
    table: Mutex<Table>,
    observer: Arc<dyn RouterObserver>,
}

/// The numbers.
#[derive(Debug)]
struct Gsis {
    /// The next to lend is the last.
    free: Vec<Gsi>,
    /// By number.
    numbers: Vec<Number>,
    /// Those that were given back since the last commit, once each, lent again or not.
    returned: Vec<Gsi>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Number {
    is_lent: bool,
    is_returned: bool,
}

/// By number.
type Table = Vec<Option<MsiRoute>>;

/// Is told what happens to the routing table, which no function sees. `()` observes nothing.
///
/// # Threading
///
/// Told by whoever commits or asks for a GSI, with locks held: an observer calls nothing of this crate. A guest
/// can cause all of it: count, do not log without a limit.
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
        let mut free: Vec<_> = (first..limit).map(Gsi).take(room).collect();
        let numbers = free.last().map_or(0, |last| last.index() + 1);
        free.reverse();
        let gsis = Gsis { free, numbers: vec![Number::default(); numbers], returned: Vec::new() };
        Self {
            vm,
            own,
            limit,
            gsis: Mutex::new(gsis),
            table: Mutex::new(vec![None; numbers]),
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
        self.gsis().numbers.iter().filter(|number| number.is_lent).count()
    }

    // What a panicking thread left behind is whole, here and below: nothing is changed in two steps.
    fn gsis(&self) -> MutexGuard<'_, Gsis> {
        self.gsis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the routes of GSIs that were given back, and finds those of these routes that are news.
    fn changes(&self, table: &mut Table, routes: &[(Gsi, MsiRoute)]) -> Vec<(Gsi, MsiRoute)> {
        let mut gsis = self.gsis();
        for gsi in std::mem::take(&mut gsis.returned) {
            gsis.numbers[gsi.index()].is_returned = false;
            table[gsi.index()] = None;
        }
        let is_news = |(gsi, route): &&(Gsi, MsiRoute)| {
            gsis.is_lent(*gsi) && table[gsi.index()] != Some(*route)
        };
        routes.iter().filter(is_news).copied().collect()
    }

    /// Commits what is in the table, with these routes put over it. KVM takes it all or nothing.
    fn commit(&self, table: &mut Table, routes: &[(Gsi, MsiRoute)]) -> errno::Result<()> {
        let put = |(gsi, route): &(Gsi, MsiRoute)| (*gsi, table[gsi.index()].replace(*route));
        let before: Vec<_> = routes.iter().map(put).collect();
        let entries = self.entries(table);
        let committed = self.vm.set_gsi_routing(&entries);
        match &committed {
            Ok(()) => self.observer.committed(routes.len(), entries.len()),
            // Backwards, should a GSI be there twice.
            Err(_) => before.into_iter().rev().for_each(|(gsi, route)| table[gsi.index()] = route),
        }
        committed
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

    fn entries(&self, table: &Table) -> Vec<kvm_irq_routing_entry> {
        let device_ids = self.vm.has_device_ids();
        let message = |(gsi, route): (u32, &Option<MsiRoute>)| {
            Some(routing_entry::msi(gsi, (*route)?, device_ids))
        };
        let mut entries = Vec::with_capacity(self.own.len() + table.iter().flatten().count());
        entries.extend(self.own.iter().copied().chain((0..).zip(table).filter_map(message)));
        entries
    }
}

impl Gsis {
    fn is_lent(&self, gsi: Gsi) -> bool {
        self.numbers.get(gsi.index()).is_some_and(|number| number.is_lent)
    }

    /// What is not lent out cannot come back.
    fn take_back(&mut self, gsi: Gsi) {
        let Some(number) = self.numbers.get_mut(gsi.index()).filter(|number| number.is_lent) else {
            return;
        };
        number.is_lent = false;
        self.free.push(gsi);
        if !std::mem::replace(&mut number.is_returned, true) {
            self.returned.push(gsi);
        }
    }
}

impl RouteTable for Router {
    fn allocate(&self) -> Result<Gsi, KvmError> {
        let mut gsis = self.gsis();
        let Some(gsi) = gsis.free.pop() else {
            drop(gsis);
            self.observer.gsis_exhausted();
            return Err(KvmError::GsisExhausted { limit: self.limit });
        };
        gsis.numbers[gsi.index()].is_lent = true;
        Ok(gsi)
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
        for gsi in released {
            gsis.take_back(*gsi);
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("own_entries", &self.own.len())
            .field("routes", &self.table().iter().flatten().count())
            .field("gsis_in_use", &self.gsis_in_use())
            .finish()
    }
}
