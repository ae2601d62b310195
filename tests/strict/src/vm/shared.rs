//! Shared data, as far as a callback has to do with it; the cells are in [`Zone`].

use super::{Stop, Vm, brief, status};
use crate::{
    rule::Rule,
    zone::{Written, Zone},
};

impl Vm {
    /// `proxy_get_shared_data`.
    pub(super) fn get_shared(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Stop> {
        let found = self.with_zone(|zone| zone.read(key))?;
        self.led(|| match &found {
            Some((value, cas)) => format!("shared {} is {} (cas {cas})", brief(key), brief(value)),
            None => format!("shared {} is absent", brief(key)),
        });
        Ok(found)
    }

    /// `proxy_set_shared_data`.
    pub(super) fn set_shared(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        cas: u32,
    ) -> Result<u32, Stop> {
        let written = self.with_zone(|zone| zone.write(key, value, cas))?;
        self.led(|| {
            let value = value.map_or("nothing".to_owned(), brief);
            format!("set shared {} to {value} (cas {cas}): {written:?}", brief(key))
        });
        match written {
            Written::Done => Ok(status::OK),
            Written::Mismatch => Ok(status::CAS_MISMATCH),
            Written::TooLarge => Err(self.forbid(
                Rule::ValueLargerThanZone,
                format!("set {} to {} bytes", brief(key), value.map_or(0, <[u8]>::len)),
            )),
        }
    }

    fn with_zone<T>(&mut self, f: impl FnOnce(&mut Zone) -> T) -> Result<T, Stop> {
        let done = self.shared.borrow_mut().zone.as_mut().map(f);
        done.ok_or_else(|| self.forbid(Rule::NoZone, "used shared data"))
    }
}
