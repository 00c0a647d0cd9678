//! The device process.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Barrier};
use std::thread;

use vm_msix_tube::{Tube, TubeBackend, TubeError, TubeIrqfd};

use super::confinement::{ConfinementError, confine};
use super::protocol::{Counted, FIRST_TUBE, Request, TRIGGER_TUBES, Told};
use crate::check::descriptors::Holders;
use crate::check::device_side::{ActionError, DeviceSide, Done, Producer, triggers};
use crate::cli::DeviceArgs;
use crate::device::{DeviceError, PciDevice, TestDevice};

type Device = TestDevice<TubeBackend>;

/// Why there is no device process any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("descriptor {0} is not there: `check --device-process` starts this command")]
    NotInherited(RawFd),
    #[error("its sockets: {0}")]
    Tube(#[from] TubeError),
    #[error("the device: {0}")]
    Device(#[from] DeviceError),
    #[error("its threads: {0}")]
    Thread(#[from] io::Error),
    #[error("seccomp: {0}")]
    Confinement(#[from] ConfinementError),
}

/// Is the device until the VMM goes.
pub(crate) fn run(args: &DeviceArgs) -> Result<bool, ChildError> {
    let interrupts = inherited(FIRST_TUBE)?;
    let requests = inherited(FIRST_TUBE + 1)?;
    let trigger_tubes: Vec<_> =
        (FIRST_TUBE + 2..).take(TRIGGER_TUBES).map(inherited).collect::<Result<_, _>>()?;
    let device = Device::new(args.vectors, interrupts)?;

    // Threads are there before the filter, which forbids them, and serve nothing before it.
    let barrier = Arc::new(Barrier::new(TRIGGER_TUBES + 1));
    for tube in trigger_tubes {
        let triggers = triggers(&device).map_err(DeviceError::from)?;
        let barrier = Arc::clone(&barrier);
        thread::Builder::new().spawn(move || {
            // All have started; all are confined.
            barrier.wait();
            barrier.wait();
            signal(&tube, &triggers);
        })?;
    }
    barrier.wait();
    confine()?;
    barrier.wait();
    serve(&device, &requests)
}

/// The socket that the VMM left under this number.
fn inherited(number: RawFd) -> Result<Tube, ChildError> {
    if fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
        return Err(ChildError::NotInherited(number));
    }
    // SAFETY: It is open, and nobody has it: it was open when this process began, which has not
    // opened anything since that it keeps.
    Ok(Tube::from_socket(unsafe { OwnedFd::from_raw_fd(number) })?)
}

/// Signals vectors until the VMM goes.
fn signal(tube: &Tube, triggers: &[Producer]) {
    let trigger = |vector: u16| -> Done<Told> {
        let trigger = triggers.get(usize::from(vector));
        let trigger = trigger.ok_or_else(|| ActionError(format!("no vector {vector}")))?;
        trigger().map(Told).map_err(|error| ActionError(error.to_string()))
    };
    while let Ok(vector) = tube.recv()
        && tube.send(&trigger(vector)).is_ok()
    {}
}

/// Does what the VMM asks, until it goes.
fn serve(device: &Device, tube: &Tube) -> Result<bool, ChildError> {
    let holders = Holders::new();
    loop {
        let served = tube.recv().and_then(|request| answer(device, &holders, tube, request));
        match served {
            Ok(()) => {}
            Err(TubeError::Disconnected) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

fn answer(
    device: &Device,
    holders: &Holders<TubeIrqfd>,
    tube: &Tube,
    request: Request,
) -> Result<(), TubeError> {
    match request {
        Request::ConfigRead { offset, bytes } => {
            let mut data = vec![0xff; bytes.into()];
            device.config_read(offset, &mut data);
            tube.send(&data)
        }
        Request::ConfigWrite { offset, data } => {
            device.config_write(offset, &data);
            tube.send(&())
        }
        Request::MmioRead { address, bytes } => {
            let mut data = vec![0xff; bytes.into()];
            tube.send(&device.mmio_read(address, &mut data).then_some(data))
        }
        Request::MmioWrite { address, data } => tube.send(&device.mmio_write(address, &data)),
        Request::Retract(vector) => tube.send(&device.retract(vector)),
        Request::Reset => tube.send(&device.reset()),
        Request::Save => tube.send(&device.save()),
        Request::Restore(state) => tube.send(&device.restore(&state)),
        Request::Enabled => tube.send(&device.enabled()),
        Request::Unsynced => tube.send(&device.unsynced()),
        Request::Flush => tube.send(&device.flush()),
        Request::Counts => tube.send(&device.counts().map(Counted)),
        Request::Descriptors(action) => tube.send(&holders.act(device, action)),
        Request::Try(forbidden) => {
            forbidden.attempt();
            tube.send(&())
        }
    }
}
