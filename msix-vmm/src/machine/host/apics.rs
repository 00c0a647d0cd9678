//! A stand-in for LAPICs and the handler behind them.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::machine::reports::Reports;
use crate::machine::vectors::entry_of;
use crate::machine::{MAX_ENTRIES, MachineError};

/// The most CPUs: APIC IDs have 8 bits, and the highest means all of them.
const MAX_CPUS: usize = 255;

/// The lowest vector that a LAPIC accepts (Intel SDM volume 3, 12.5.2).
const LOWEST_VECTOR: u8 = 0x10;

/// The LAPICs of a [`HostMachine`](super::HostMachine): messages go in, the handler runs at once.
///
/// Made before the machine, so that a device's interrupt backend can hold it without holding the
/// machine, and the bus, and so itself.
#[derive(Debug)]
pub(crate) struct HostApics {
    cpus: Vec<HostCpu>,
    sequences: Vec<AtomicU64>,
    wave: AtomicU16,
    reports: Reports,
}

/// What the handler on one CPU leaves.
#[derive(Debug)]
struct HostCpu {
    /// A CPU handles one interrupt at a time. Nothing is called while this is held, so a thread
    /// may deliver from wherever it is.
    handler: Mutex<()>,
    runs: Vec<AtomicU32>,
    last_seen: Vec<AtomicU64>,
}

impl HostApics {
    /// LAPICs for `cpus` CPUs, their APIC IDs counting from 0.
    pub(crate) fn new(cpus: usize) -> Result<Self, MachineError> {
        if !(1..=MAX_CPUS).contains(&cpus) {
            return Err(MachineError::CpuCount { cpus, max: MAX_CPUS });
        }
        let cpu = || HostCpu {
            handler: Mutex::new(()),
            runs: (0..MAX_ENTRIES).map(|_| AtomicU32::new(0)).collect(),
            last_seen: qwords(),
        };
        Ok(Self {
            cpus: (0..cpus).map(|_| cpu()).collect(),
            sequences: qwords(),
            wave: AtomicU16::new(0),
            reports: Reports::default(),
        })
    }

    /// Delivers a message, and runs the handler before it returns. From any thread, also from
    /// inside a [`Bus`](crate::machine::Bus) call.
    ///
    /// Returns whether a LAPIC took it: the address must be a LAPIC's (0xFEExxxxx), name a CPU in
    /// physical mode (or all of them by 0xFF), and the data must ask for fixed or lowest-priority
    /// delivery of a vector from 16 on (Intel SDM volume 3, 12.11).
    pub(crate) fn deliver(&self, address: u64, data: u32) -> bool {
        let vector = data as u8;
        let physical = address & 1 << 2 == 0;
        let fixed = data >> 8 & 7 <= 1;
        if address >> 20 != 0xfee || !physical || !fixed || vector < LOWEST_VECTOR {
            return false;
        }
        let destination = (address >> 12 & 0xff) as usize;
        let everybody = destination == 0xff;
        let targets = if everybody { 0..self.cpus() } else { destination..destination + 1 };
        let targets = targets.start..targets.end.min(self.cpus());
        targets.clone().for_each(|cpu| self.handle(cpu, vector));
        !targets.is_empty()
    }

    /// What the guest's interrupt handler does.
    fn handle(&self, cpu: usize, vector: u8) {
        let Some(entry) = entry_of(vector, self.wave.load(Ordering::Acquire)) else {
            return self.reports.unexpected(cpu, vector);
        };
        let (this, entry) = (&self.cpus[cpu], usize::from(entry));
        let handling = this.handler.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = self.sequences[entry].load(Ordering::Acquire);
        this.last_seen[entry].store(sequence, Ordering::Release);
        // Last: whoever sees the count sees the sequence number too.
        this.runs[entry].fetch_add(1, Ordering::Release);
        drop(handling);
        self.reports.notify();
    }

    /// Returns when the handler that runs on `cpu` now, if any, is through.
    pub(super) fn settle(&self, cpu: usize) {
        drop(self.cpus[cpu].handler.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn cpus(&self) -> usize {
        self.cpus.len()
    }

    pub(super) fn reports(&self) -> &Reports {
        &self.reports
    }

    pub(super) fn set_wave(&self, first_entry: u16) {
        self.wave.store(first_entry, Ordering::Release);
    }

    pub(super) fn set_sequence(&self, entry: u16, sequence: u64) {
        self.sequences[usize::from(entry)].store(sequence, Ordering::Release);
    }

    pub(super) fn runs(&self, cpu: usize, entry: u16) -> u32 {
        self.cpus[cpu].runs[usize::from(entry)].load(Ordering::Acquire)
    }

    pub(super) fn last_seen(&self, entry: u16) -> u64 {
        let seen = |cpu: &HostCpu| cpu.last_seen[usize::from(entry)].load(Ordering::Acquire);
        self.cpus.iter().map(seen).max().unwrap_or_default()
    }

    /// Zeroes everything that handlers count.
    pub(super) fn reset(&self) {
        self.sequences.iter().for_each(|sequence| sequence.store(0, Ordering::Release));
        for cpu in &self.cpus {
            cpu.runs.iter().for_each(|runs| runs.store(0, Ordering::Release));
            cpu.last_seen.iter().for_each(|seen| seen.store(0, Ordering::Release));
        }
        self.reports.reset();
    }
}

fn qwords() -> Vec<AtomicU64> {
    (0..MAX_ENTRIES).map(|_| AtomicU64::new(0)).collect()
}
