//! What a fuzzer feeds, and what must hold whatever it feeds. The same is replayed from the corpus by a test.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, mpsc};

use vm_msix::test_utils::{GuestDriver, MockBackend};
use vm_msix::{MsiMessage, MsixConfig, MsixStateV1};
use vm_msix_tube::{Quota, Server, Tube};

use super::raw::Raw;
use super::vmm::{Delivery, Vmm};
use super::{end_of, fds, message, threads, until};

/// Vectors of every function here.
pub(crate) const VECTORS: u16 = 4;
/// What restores have to be of.
pub(crate) const PCI_ID: u32 = 0x1041_1af4;

/// Cuts bytes into packets: a number of descriptors, a length, and so many bytes.
fn packets(mut data: &[u8]) -> Vec<(usize, &[u8])> {
    let mut packets = Vec::new();
    while let Some((&[descriptors, length], rest)) = data.split_first_chunk() {
        let (packet, rest) = rest.split_at(rest.len().min(length.into()));
        packets.push((usize::from(descriptors % 32), packet));
        data = rest;
    }
    packets
}

/// The same the other way.
pub(crate) fn of_packets(packets: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let of_one = |(descriptors, packet): &(u8, Vec<u8>)| {
        let length = u8::try_from(packet.len()).unwrap();
        [vec![*descriptors, length], packet.clone()].concat()
    };
    packets.iter().flat_map(of_one).collect()
}

/// A device process that sends these packets: whatever they are, the session ends with it, and nothing of it is left.
pub(crate) fn tube_session(data: &[u8]) {
    static SERVER: OnceLock<Server> = OnceLock::new();
    session(SERVER.get_or_init(|| Server::spawn().unwrap()), data);
    // What a leak checker would find on the way out is not lost.
    threads::expect(1);
}

/// The same with any server, which has let go of it afterwards.
pub(crate) fn session(server: &Server, data: &[u8]) {
    let eventfd = fds::new();
    let vmm = Vmm::new(VECTORS);
    let (here, there) = Tube::pair().unwrap();
    let (tell, ended) = mpsc::channel();
    let tell = move |reason| tell.send(reason).unwrap_or_default();
    let quota = Quota { vectors: VECTORS };
    server.serve(here, Delivery(Arc::clone(&vmm)), quota, tell).unwrap();
    let raw = Raw::new(there.into_socket());
    for (descriptors, packet) in packets(data) {
        if raw.packet(packet, &vec![eventfd.as_fd(); descriptors]).is_err() {
            break;
        }
    }
    raw.finish();
    end_of(&ended);
    until("the end of the session", || server.sessions() == 0);
    assert_eq!((vmm.open(), vmm.eventfds()), (0, 0));
}

/// A VMM that answers with these packets, and goes: the function latches what it is signalled.
pub(crate) fn tube_answers(data: &[u8]) {
    let (here, there) = Tube::pair().unwrap();
    let raw = Raw::new(here.into_socket());
    for (_, packet) in packets(data) {
        if raw.try_packet(packet).is_err() {
            break;
        }
    }
    raw.finish();
    let Ok(mut msix) = MsixConfig::new(VECTORS, there, PCI_ID, "fuzz") else { return };
    let messages: Vec<_> = (0..VECTORS).map(|vector| message(vector, 1)).collect();
    GuestDriver::new(&mut msix).bring_up(&messages);
    let guard = msix.get_irqfd(0);
    msix.trigger(1).unwrap();
    GuestDriver::new(&mut msix).change_affinity(1, message(1, 2));
    let _ = msix.swap_irqfds(1, 2);
    let adopted = msix.adopt_irqfd(3, fds::new());
    let _ = msix.flush();
    GuestDriver::new(&mut msix).mask_function();
    // A close that could not be done leaves its vector as open here as elsewhere: closed.
    for vector in 0..VECTORS {
        msix.trigger(vector).unwrap();
        assert!(GuestDriver::new(&mut msix).is_pending(vector), "vector {vector}");
        assert!(msix.retract(vector).unwrap());
    }
    drop((guard, adopted));
    msix.reset();
    assert!((0..VECTORS).all(|vector| !GuestDriver::new(&mut msix).is_pending(vector)));
}

/// A saved state in these bytes: it is refused and nothing changes, or it is taken whole; and the function goes on.
pub(crate) fn state(data: &[u8]) {
    let Some((form, data)) = data.split_first() else { return };
    let state: Option<MsixStateV1> = match form % 2 {
        0 => postcard::from_bytes(data).ok(),
        _ => serde_json::from_slice(data).ok(),
    };
    let Some(state) = state else { return };
    let backend = MockBackend::new(VECTORS).unwrap();
    let mut msix = MsixConfig::new(VECTORS, &backend, PCI_ID, "fuzz").unwrap();
    msix.trigger(2).unwrap();
    let before = msix.snapshot();
    match msix.restore(&state) {
        Err(_) => assert_eq!(msix.snapshot(), before),
        Ok(()) => {
            let restored = msix.snapshot();
            let open = |vector: usize| {
                state.enabled
                    && !state.function_masked
                    && state.bus_master
                    && !state.vectors[vector].masked
            };
            for (index, (asked, is)) in state.vectors.iter().zip(&restored.vectors).enumerate() {
                assert_eq!(
                    (asked.address, asked.data, asked.masked),
                    (is.address, is.data, is.masked)
                );
                assert_eq!(is.pending, asked.pending && !open(index));
            }
            let delivered = backend.take_sent();
            let expected = state.vectors.iter().enumerate();
            let expected =
                expected.filter(|(index, vector)| vector.pending && open(*index)).count();
            assert_eq!(delivered.len(), expected);
        }
    }
    msix.reset();
    msix.set_bus_master(true);
    let messages = [MsiMessage::new(0xfee0_0000, 0x41); VECTORS as usize];
    GuestDriver::new(&mut msix).bring_up(&messages);
    backend.take_sent();
    msix.trigger(3).unwrap();
    assert_eq!(backend.take_sent(), [(3, messages[3])]);
}
