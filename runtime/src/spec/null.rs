//! Fields that may be `null`.

use serde::{Deserialize, Deserializer};

/// Deserializes `null` as the default, as Go's encoding/json does.
pub fn nullable<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
