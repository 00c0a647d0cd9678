//! What the devices' interrupts came to, as JSON for whoever compares it with the guest's own counts.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::devices::Plugged;
use super::end::End;
use super::error::BootError;

#[derive(Serialize)]
struct Report {
    end: String,
    devices: Vec<DeviceReport>,
}

#[derive(Serialize)]
struct DeviceReport {
    name: &'static str,
    /// Where the guest finds it.
    function: String,
    vectors: u16,
    /// How often the device signalled a vector: the sum of the five that follow.
    signals: u64,
    sent: u64,
    latched: u64,
    collapsed: u64,
    handed_over: u64,
    failed: u64,
    /// Of those latched, what was delivered when the vector opened, and what the device took back.
    delivered: u64,
    retracted: u64,
    /// How often INTx was raised.
    intx: u64,
}

impl DeviceReport {
    fn of(plugged: &Plugged) -> Self {
        let counts = plugged.device.counts();
        let (bus, device, function) =
            (plugged.function.bus(), plugged.function.device(), plugged.function.function());
        Self {
            name: plugged.name,
            function: format!("{bus:02x}:{device:02x}.{function}"),
            vectors: plugged.vectors,
            signals: counts.sent
                + counts.latched
                + counts.collapsed
                + counts.handed_over
                + counts.failed,
            sent: counts.sent,
            latched: counts.latched,
            collapsed: counts.collapsed,
            handed_over: counts.handed_over,
            failed: counts.failed,
            delivered: counts.delivered,
            retracted: counts.retracted,
            intx: plugged.pin.raised(),
        }
    }
}

/// Writes the report to a file.
pub(super) fn write(path: &Path, end: &End, devices: &[Plugged]) -> Result<(), BootError> {
    let devices = devices.iter().map(DeviceReport::of).collect();
    let report = Report { end: end.to_string(), devices };
    let text = serde_json::to_string_pretty(&report).map_err(std::io::Error::from);
    text.and_then(|text| fs::write(path, text + "\n"))
        .map_err(|source| BootError::Report { path: path.into(), source })
}
