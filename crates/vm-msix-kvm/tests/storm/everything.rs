//! All that changes a function at once, from five threads: nothing stands still, and at the end every descriptor delivers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use vm_msix_kvm::{Committer, Irqfd, KvmBackend};

use crate::alone;
use crate::support::fixture::{Fixture, function};
use crate::support::long::times;
use crate::support::producer::{Producer, is_assigned};
use crate::support::taps::{Remapper, Rule};
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic, unsynced};

const VECTORS: u16 = 40;

/// A function, and who does what with it.
struct World {
    msix: Mutex<Msix>,
    guards: Vec<Mutex<Option<Irqfd>>>,
    backend: KvmBackend,
    committer: Arc<Committer>,
    remapper: Remapper,
    done: AtomicBool,
}

/// What one of the threads does in its nth round.
type Part = fn(&World, usize);

const PARTS: [(&str, Part); 5] = [
    ("the guest", World::drive),
    ("the holder", World::join_and_leave),
    ("the device", World::signal),
    ("the IOMMU", World::remap),
    ("the committer", World::commit),
];

fn interrupt(vector: u16) -> u8 {
    0x40 + vector as u8
}

fn bring_up(msix: &mut Msix) {
    let messages: Vec<_> = (0..VECTORS).map(|vector| to_apic(0, interrupt(vector))).collect();
    guest(msix).bring_up(&messages);
}

impl World {
    /// All vectors on descriptors and open.
    fn new(fixture: &Fixture) -> Self {
        let committer = Committer::spawn(fixture.router.clone()).unwrap();
        let remapper = Remapper::default();
        let delivery = fixture.delivery_by(committer.clone()).with_translate(remapper.clone());
        let mut msix = function(VECTORS, delivery);
        bring_up(&mut msix);
        let guard = |vector: u16| Mutex::new(Some(msix.get_irqfd(vector.into()).unwrap()));
        Self {
            guards: (0..VECTORS).map(guard).collect(),
            backend: msix.backend().clone(),
            msix: Mutex::new(msix),
            committer,
            remapper,
            done: AtomicBool::new(false),
        }
    }

    fn msix(&self) -> MutexGuard<'_, Msix> {
        self.msix.lock().unwrap()
    }

    fn drive(&self, round: usize) {
        let mut msix = self.msix();
        let vector = (round / 5) as u16 % VECTORS;
        match round % 5 {
            0 => {
                guest(&mut msix).mask_function();
                guest(&mut msix).unmask_function();
            }
            1 => {
                guest(&mut msix).mask(vector);
                guest(&mut msix).is_pending(vector);
                guest(&mut msix).unmask(vector);
            }
            2 => {
                let message = to_apic((round % 2) as u8, interrupt(vector));
                guest(&mut msix).change_affinity(vector, message);
            }
            3 => msix.swap_irqfds(vector.into(), round / 7 % usize::from(VECTORS)).unwrap(),
            _ if round % 100 == 4 => {
                msix.reset();
                bring_up(&mut msix);
            }
            _ => {}
        }
        drop(msix);
        thread::yield_now();
    }

    fn join_and_leave(&self, round: usize) {
        let vector = round * 31 % usize::from(VECTORS);
        let mut guard = self.guards[vector].lock().unwrap();
        *guard = None;
        if round.is_multiple_of(3) {
            thread::yield_now();
        }
        *guard = Some(self.msix().get_irqfd(vector).unwrap());
    }

    fn signal(&self, round: usize) {
        let guard = self.guards[round % usize::from(VECTORS)].lock().unwrap();
        guard.iter().for_each(|guard| Producer::of(guard).signal());
    }

    fn remap(&self, round: usize) {
        self.remapper.set(if round.is_multiple_of(3) { Rule::Block } else { Rule::Pass });
        self.remapper.asked.take();
        self.backend.invalidate_translations();
    }

    fn commit(&self, _round: usize) {
        self.committer.flush();
        let batch = self.committer.batch();
        thread::yield_now();
        drop(batch);
    }
}

/// Plays a part until all is done; what it returns tells how often it has.
fn play(world: &Arc<World>, part: Part) -> (thread::JoinHandle<()>, Arc<AtomicUsize>) {
    let rounds = Arc::new(AtomicUsize::new(0));
    let (world, played) = (Arc::clone(world), Arc::clone(&rounds));
    let thread = thread::spawn(move || {
        while !world.done.load(Ordering::Relaxed) {
            part(&world, played.fetch_add(1, Ordering::Relaxed));
        }
    });
    (thread, rounds)
}

#[test]
fn c3_c4_c7_hold_when_everything_happens_at_once() {
    let (_alone, Some(fixture)) = (alone(), Fixture::new()) else { return };
    let before = Arc::strong_count(&fixture.vm);
    let world = Arc::new(World::new(&fixture));
    let players = PARTS.map(|(name, part)| (name, play(&world, part)));
    let enough = times(50, 20_000);
    for (name, (thread, rounds)) in &players {
        let has_played = || rounds.load(Ordering::Relaxed) >= enough || thread.is_finished();
        until(&format!("{name} to get on"), has_played);
    }
    world.done.store(true, Ordering::Relaxed);
    for (name, (thread, _)) in players {
        until(&format!("{name} to end"), || thread.is_finished());
        thread.join().unwrap();
    }

    world.remapper.set(Rule::Pass);
    world.backend.invalidate_translations();
    expect_all_to_deliver(&fixture, &world);
    drop(world);
    until("the function and its committer to go", || Arc::strong_count(&fixture.vm) == before);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

fn expect_all_to_deliver(fixture: &Fixture, world: &World) {
    let mut msix = world.msix();
    msix.flush().unwrap();
    assert_eq!(unsynced(&msix), [] as [u16; 0]);
    guest(&mut msix).mask_function();
    for guard in &world.guards {
        let guard = guard.lock().unwrap();
        let eventfd = Producer::of(guard.as_ref().unwrap()).into_eventfd();
        assert!(!is_assigned(&fixture.vm, &eventfd), "{guard:?} is open under a mask");
    }
    for vector in 0..VECTORS {
        guest(&mut msix).program(vector, to_apic(0, interrupt(vector)));
        guest(&mut msix).unmask(vector);
    }
    guest(&mut msix).unmask_function();
    msix.flush().unwrap();
    for guard in &world.guards {
        let guard = guard.lock().unwrap();
        let guard = guard.as_ref().unwrap();
        let interrupt = interrupt(guard.vector().get());
        fixture.apic().clear();
        Producer::of(guard).signal();
        until(&format!("{guard:?} to deliver"), || fixture.apic().has(interrupt));
    }
}
