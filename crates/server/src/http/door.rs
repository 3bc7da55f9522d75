//! The door: what an address may ask before anybody looks at its key.
//!
//! Every request that needs a key is counted here, whatever becomes of it. An address whose keys were refused too often is
//! sent away before its next key is looked at.

use axum::http::request::Parts;
use privet_domain::id::ApiKeyId;
use privet_domain::rate::Rate;

use super::address::ClientAddress;
use super::address_limiter::{AddressLimiter, Counted, Exceeded};
use super::error::ApiError;
use super::rate_status::{RateSlot, RateStatus};
use crate::config::{DoorSettings, TrustedProxies};

/// The gate's name in `x-privet-gate`.
const GATE: &str = "address";

/// The limits of addresses, and whom to believe about them.
pub(crate) struct Door {
    trusted: TrustedProxies,
    limiter: AddressLimiter,
}

impl Door {
    pub(crate) fn new(settings: &DoorSettings) -> Self {
        Self { trusted: settings.trusted_proxies.clone(), limiter: AddressLimiter::new(settings) }
    }

    /// Finds the address that a request came from.
    ///
    /// # Errors
    /// When its keys were refused too often: then no key of it is looked at.
    pub(crate) fn enter(&self, parts: &Parts) -> Result<ClientAddress, ApiError> {
        let address = ClientAddress::of(&parts.extensions, &parts.headers, &self.trusted);
        let looked = self.limiter.look(address, Counted::RefusedKey);
        looked.map(|_| address).map_err(|exceeded| refusal(Counted::RefusedKey, exceeded))
    }

    /// Counts a request against its address.
    ///
    /// # Errors
    /// When the address has to wait.
    pub(crate) fn count(&self, parts: &Parts, address: ClientAddress, counted: Counted) -> Result<(), ApiError> {
        let status = self.limiter.count(address, counted).map_err(|exceeded| refusal(counted, exceeded))?;
        note(parts, status);
        Ok(())
    }

    /// Counts a request against its address by a rate that its key has, in place of the configured one.
    ///
    /// # Errors
    /// When the address has to wait.
    pub(crate) fn count_of_key(
        &self,
        parts: &Parts,
        address: ClientAddress,
        key: ApiKeyId,
        rate: Rate,
    ) -> Result<(), ApiError> {
        let status = self.limiter.count_of_key(address, key, rate);
        note(parts, status.map_err(|exceeded| refusal(Counted::Api, exceeded))?);
        Ok(())
    }

    /// Counts a refused key against its address.
    ///
    /// # Errors
    /// When there were too many by now.
    pub(crate) fn refused_key(&self, address: ClientAddress) -> Result<(), ApiError> {
        let counted = self.limiter.count(address, Counted::RefusedKey);
        counted.map(drop).map_err(|exceeded| refusal(Counted::RefusedKey, exceeded))
    }
}

fn note(parts: &Parts, status: Option<RateStatus>) {
    if let (Some(status), Some(slot)) = (status, parts.extensions.get::<RateSlot>()) {
        slot.note(status);
    }
}

fn refusal(counted: Counted, Exceeded { status, wait }: Exceeded) -> ApiError {
    let rate = status.policy;
    let what = match counted {
        Counted::Chat | Counted::Api => format!("Too many requests from your address: it may send {rate} here."),
        Counted::RefusedKey => format!("Too many wrong keys from your address: it may try {rate}."),
    };
    ApiError::rate_limited(GATE, status, wait, &what)
}
