//! Whatever bytes come in, reading a profile ends in an error or in a profile that can be used, merged and stored.
//!
//! ```text
//! cargo +nightly fuzz run profile -- -rss_limit_mb=2048
//! ```

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlops_core::Digest;
use mlops_monitor::{Profile, ProfileSettings, ReferenceProfile};

fuzz_target!(|content: &[u8]| {
    assert!(Profile::from_bytes(content).is_err() || content.len() > 40);
    // A right digest, so that what lies behind it is reached.
    let bytes = [content, Digest::of(content).as_bytes()].concat();
    let Ok(mut profile) = Profile::from_bytes(&bytes) else { return };
    let twin = profile.clone();
    if profile.merge(&twin).is_ok() {
        let stored = profile.to_bytes().expect("what was read is small");
        Profile::from_bytes(&stored).expect("what was written is read");
    }
    for column in profile.summary().expect("sketches can be made").columns() {
        column.distinct().expect("sketches can be made");
        column.sketches().expect("sketches can be made");
        assert!(column.quantile(0.5).is_none_or(|found| found.low <= found.high));
    }
    ReferenceProfile::from_profile(&profile, &ProfileSettings::default()).expect("settings are valid");
});
