//! How many bytes a saved state takes, by format: `cargo run -p vm-msix --example snapshot_size`.
//!
//! The function is as Linux leaves it on x86: every vector unmasked, to one of 64 CPUs, one in eight pending.

use std::convert::Infallible;
use std::error::Error;

use vm_msix::test_utils::GuestDriver;
use vm_msix::{MsiMessage, MsixConfig, MsixStateV1, SignalMode, VectorIndex};

fn saved(vectors: u16) -> Result<MsixStateV1, Box<dyn Error>> {
    let sender = SignalMode::new(|_: VectorIndex, _: MsiMessage| Ok::<(), Infallible>(()));
    let mut msix = MsixConfig::new(vectors, sender, 0x1041_1af4, "net0")?;
    let message = |vector: u16| {
        let (cpu, interrupt) = (u64::from(vector % 64), u32::from(vector / 64));
        MsiMessage::new(0xfee0_0000 | cpu << 12, 0x30 + interrupt)
    };
    let messages: Vec<_> = (0..vectors).map(message).collect();
    GuestDriver::new(&mut msix).bring_up(&messages);
    msix.pause();
    for vector in (0..vectors).step_by(8) {
        msix.trigger(vector)?;
    }
    Ok(msix.snapshot())
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("| vectors | JSON | CBOR | postcard |");
    println!("|---|---|---|---|");
    for vectors in [1, 64, 2048] {
        let state = saved(vectors)?;
        let json = serde_json::to_vec(&state)?.len();
        let mut cbor = Vec::new();
        ciborium::into_writer(&state, &mut cbor)?;
        let postcard = postcard::to_allocvec(&state)?.len();
        println!("| {vectors} | {json} | {} | {postcard} |", cbor.len());
    }
    Ok(())
}
