//! How much one tenant, and all together, may ask for at a time.
//!
//! A tenant is the principal of a request, or the digest of its API key where no access control names one. Invariant:
//! what is kept of tenants is bounded; when it is full the one that has been quiet for longest is forgotten.

mod admit;
mod bucket;
mod settings;
mod tenants;
#[cfg(feature = "grpc")]
mod timed;

#[cfg(feature = "grpc")]
pub(crate) use admit::Tenant;
pub(crate) use admit::{admit, answered, prepared};
pub use settings::{LimitSettings, TenantLimits};
pub(crate) use tenants::Tenants;
