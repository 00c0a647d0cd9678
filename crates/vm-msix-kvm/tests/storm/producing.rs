//! Producers at full speed, which rest when they are told to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use vm_msix::{MsixObserver, Trigger};
use vm_msix_kvm::KvmBackend;

use crate::oracle::Oracle;
use crate::support::wait::until;

pub(crate) const PRODUCERS: usize = 2;

/// Producers that run, and rest when they are told to.
#[derive(Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    pub(crate) done: AtomicBool,
    resting: AtomicU64,
    pub(crate) triggers: AtomicU64,
}

impl Gate {
    pub(crate) fn produce(&self, oracle: &Oracle, producer: usize, trigger: impl Fn()) {
        for number in 1.. {
            if self.closed.load(Ordering::Acquire) {
                self.resting.fetch_add(1, Ordering::Release);
                while self.closed.load(Ordering::Acquire) {
                    // Asleep: KVM's work items need the CPU.
                    thread::sleep(Duration::from_micros(50));
                }
                self.resting.fetch_sub(1, Ordering::Release);
            }
            if self.done.load(Ordering::Acquire) {
                return;
            }
            oracle.written[producer].store(number, Ordering::Relaxed);
            trigger();
            self.triggers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until more triggers have begun and ended.
    pub(crate) fn more_come(&self) {
        let before = self.triggers.load(Ordering::Relaxed);
        let enough = before + PRODUCERS as u64 + 1;
        until("the producers", || self.triggers.load(Ordering::Relaxed) >= enough);
    }

    /// Every producer is between two triggers.
    pub(crate) fn rest(&self) {
        self.closed.store(true, Ordering::Release);
        until("the producers to rest", || self.resting.load(Ordering::Acquire) == PRODUCERS as u64);
    }

    pub(crate) fn go_on(&self) {
        self.closed.store(false, Ordering::Release);
        until("the producers to go on", || self.resting.load(Ordering::Acquire) == 0);
    }

    pub(crate) fn stop(&self) {
        self.done.store(true, Ordering::Release);
        self.closed.store(false, Ordering::Release);
    }
}

/// Runs the producers, and `control` beside them.
pub(crate) fn with_producers<'scope, 'env, O: MsixObserver>(
    scope: &'scope thread::Scope<'scope, 'env>,
    trigger: &'env Trigger<KvmBackend, O>,
    oracle: &'env Oracle,
    gate: &'env Gate,
    control: impl FnOnce(),
) {
    for producer in 0..PRODUCERS {
        scope.spawn(move || {
            gate.produce(oracle, producer, || {
                trigger.trigger().unwrap();
            });
        });
    }
    let _stop = StopOnDrop(gate);
    control();
}

/// Lets the producers go home also when the test fails.
struct StopOnDrop<'a>(&'a Gate);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
