//! Which device a backend is, and where it listens.

use std::path::PathBuf;
use std::str::FromStr;

use virtio_bindings::virtio_ids;
use vm_pci_config::ClassCode;

/// What the protocol does not tell of a device, and its specification does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// virtio 1.2, section 5.
    pub(crate) id: u16,
    /// What a driver that does not know virtio takes it for.
    pub(crate) class: ClassCode,
    /// Queues of a backend that cannot be asked.
    pub(crate) queues: usize,
    /// Bytes of its configuration.
    pub(crate) config: u32,
}

/// A device whose queues a backend serves, as the command line names it: `KIND:SOCKET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendAt {
    pub(crate) kind: Kind,
    pub(crate) socket: PathBuf,
}

const OTHER: ClassCode = ClassCode { class: 0xff, subclass: 0, prog_if: 0 };
const RNG: Kind = kind(virtio_ids::VIRTIO_ID_RNG, 1, 0);
const CONSOLE: Kind = Kind {
    class: ClassCode { class: 0x07, subclass: 0x80, prog_if: 0 },
    ..kind(virtio_ids::VIRTIO_ID_CONSOLE, 2, 12)
};
const FS: Kind = kind(virtio_ids::VIRTIO_ID_FS, 2, 44);

const fn kind(id: u32, queues: usize, config: u32) -> Kind {
    Kind { id: id as u16, class: OTHER, queues, config }
}

impl Kind {
    /// A vector for each queue and one for configuration changes, which is what drivers like best.
    pub(crate) fn vectors(&self) -> u16 {
        self.queues as u16 + 1
    }
}

/// Device IDs of the transport have room for so many kinds.
const MOST: u16 = 0x3f;

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rng" => Ok(RNG),
            "console" => Ok(CONSOLE),
            "fs" => Ok(FS),
            number => match number.parse::<u16>() {
                Ok(id @ 1..=MOST) => {
                    let known = [RNG, CONSOLE, FS].into_iter().find(|kind| kind.id == id);
                    Ok(known.unwrap_or(kind(id.into(), 1, 0)))
                }
                _ => Err(format!(
                    "{text:?} is no kind of device: rng, console, fs or virtio's number of one, 1 to {MOST}"
                )),
            },
        }
    }
}

impl FromStr for BackendAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((kind, socket)) if !socket.is_empty() => {
                Ok(Self { kind: kind.parse()?, socket: socket.into() })
            }
            _ => Err("KIND:SOCKET is what is needed, as in rng:/run/rng.sock".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BackendAt;

    fn id(text: &str) -> Option<u16> {
        text.parse::<BackendAt>().ok().map(|backend| backend.kind.id)
    }

    #[test]
    fn kinds_have_names_and_numbers() {
        assert_eq!(id("rng:/a"), Some(4));
        assert_eq!(id("console:/a"), Some(3));
        assert_eq!(id("fs:/a"), Some(26));
        assert_eq!(id("34:/a"), Some(34));
        assert_eq!("4:/a".parse::<BackendAt>(), "rng:/a".parse());
    }

    #[test]
    fn a_socket_may_have_colons() {
        let backend: BackendAt = "rng:/a:b".parse().unwrap();
        assert_eq!(backend.socket.to_str(), Some("/a:b"));
    }

    #[test]
    fn what_is_no_kind_or_has_no_socket_is_refused() {
        for text in ["", "rng", "rng:", ":/a", "disk:/a", "0:/a", "64:/a", "-1:/a"] {
            assert_eq!(id(text), None, "{text:?}");
        }
    }
}
