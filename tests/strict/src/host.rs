//! Which host is played, and how its operator has set it up.

/// The host that is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Kong 3.9: what users run.
    Kong,
    /// Envoy 1.40.
    Envoy,
}

impl Host {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Kong, Self::Envoy];
}

/// Where requests wait on Kong (`kong/loopback.conf`).
pub const WAITING_ROOM: &str = "127.0.0.1:8009";

/// What an operator can choose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host.
    pub host: Host,
    /// Size of the zone for shared data (`nginx_wasm_shm_kv`) in bytes; without one every use of
    /// shared data traps on Kong. Envoy needs no zone and has no limit.
    pub zone_bytes: Option<usize>,
    /// `nginx_http_client_body_buffer_size` in bytes: a larger body cannot be read on Kong.
    pub body_buffer_bytes: usize,
    /// Whether names resolve in dispatches from a tick (`nginx_wasm_proxy_wasm_lua_resolver`).
    pub lua_resolver: bool,
    /// Size of the slab for metrics in bytes.
    pub metrics_bytes: usize,
    /// Decides the request ids and the filter's own random bytes.
    pub seed: u64,
}

impl Settings {
    /// `host` as `kong/kong.conf` sets it up.
    #[must_use]
    pub fn of(host: Host) -> Self {
        Self {
            host,
            zone_bytes: Some(16 << 20),
            body_buffer_bytes: 10 << 20,
            lua_resolver: true,
            metrics_bytes: 5 << 20,
            seed: 1,
        }
    }
}
