//! A running QEMU: found, started, connected, and ended with the value.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vmm_sys_util::tempdir::TempDir;

use super::devices::{BELLS_SOCKET, Device, QTEST_SOCKET, Signals, VECTORS_SOCKET};
use super::error::QemuError;
use super::ivshmem::{Bells, Vectors};
use super::qtest::{HANG, Qtest};

/// QEMU's program, and what it can do.
#[derive(Debug)]
pub(super) struct Program {
    path: OsString,
    pub(super) version: String,
    devices: String,
}

impl Program {
    /// The one that was asked for, else that of the environment's `QEMU`, else `qemu-system-x86_64`.
    pub(super) fn find(asked: Option<&Path>) -> Result<Self, QemuError> {
        let path = asked
            .map(|path| path.as_os_str().to_owned())
            .or_else(|| std::env::var_os("QEMU"))
            .unwrap_or_else(|| "qemu-system-x86_64".into());
        let version = Self::output(&path, &["--version"])?;
        let version = version.lines().next().unwrap_or_default().to_owned();
        let devices = Self::output(&path, &["-device", "help"])?;
        Ok(Self { path, version, devices })
    }

    /// Whether it was built with this device.
    pub(super) fn has(&self, device: &Device) -> bool {
        self.devices.contains(&format!("name \"{}\"", device.name))
    }

    fn output(path: &OsString, arguments: &[&str]) -> Result<String, QemuError> {
        let output = Command::new(path).args(arguments).output();
        let output = output.map_err(|source| QemuError::NotThere {
            program: path.to_string_lossy().into_owned(),
            source,
        })?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                Err(QemuError::NotStarted(String::from_utf8_lossy(&output.stderr).into_owned()))
            }
        }
    }
}

/// The process, and its working directory with the sockets.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    directory: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It holds nothing that is worth an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine that was started, and the other ends of its connections.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) qtest: Qtest,
    pub(super) ivshmem: Option<(Vectors, Bells)>,
    _process: Process,
}

/// Starts a machine with this device.
pub(super) fn start(program: &Program, device: &Device) -> Result<Started, QemuError> {
    let directory = TempDir::new_with_prefix(std::env::temp_dir().join("msix-vmm-qemu-"))
        .map_err(|error| QemuError::Files(error.into()))?;
    let listen = |name| {
        let listener = UnixListener::bind(directory.as_path().join(name))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let qtest = listen(QTEST_SOCKET).map_err(QemuError::Files)?;
    let vectors = listen(VECTORS_SOCKET).map_err(QemuError::Files)?;
    let bells = listen(BELLS_SOCKET).map_err(QemuError::Files)?;

    let mut process = spawn(program, device, directory)?;
    // The devices are served first: QEMU waits for it before it does anything else.
    let ivshmem = match device.signals {
        Signals::No => None,
        Signals::Ivshmem => {
            let bells = Bells::serve(process.accept(&bells)?)?;
            Some((Vectors::serve(process.accept(&vectors)?, device.vectors)?, bells))
        }
    };
    let qtest = Qtest::new(process.accept(&qtest)?)?;
    Ok(Started { qtest, ivshmem, _process: process })
}

fn spawn(program: &Program, device: &Device, directory: TempDir) -> Result<Process, QemuError> {
    let errors = File::create(directory.as_path().join("stderr")).map_err(QemuError::Files)?;
    let child = Command::new(&program.path)
        .args(device.arguments())
        .current_dir(directory.as_path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .map_err(|error| QemuError::NotStarted(error.to_string()))?;
    Ok(Process { child, directory })
}

impl Process {
    /// Waits until QEMU connects, or ends.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream, QemuError> {
        let started = Instant::now();
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).map_err(QemuError::Connection)?;
                    return Ok(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(QemuError::Connection(error)),
            }
            let ended = self.child.try_wait().map_err(QemuError::Connection)?;
            if ended.is_some() || started.elapsed() > HANG {
                return Err(QemuError::NotStarted(self.said()));
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// What it wrote to its standard error.
    fn said(&self) -> String {
        fs::read_to_string(self.directory.as_path().join("stderr")).unwrap_or_default()
    }
}
